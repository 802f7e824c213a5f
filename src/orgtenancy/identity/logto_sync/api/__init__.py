"""Logto's Management API: what is asked, how fast, and what is taken for an answer."""
