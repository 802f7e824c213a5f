"""Where new organizations go."""

from orgtenancy.schemas.placing.policies import Candidate, Policy, by_attribute, fewest, weighted

__all__ = ["Candidate", "Policy", "by_attribute", "fewest", "weighted"]
