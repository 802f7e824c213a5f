"""The guards of work that leaves a request: threads, queues, processes, Celery and Dramatiq."""

from __future__ import annotations

from tests.mutants.mutation import Mutation

THREADS = ("propagation/test_threads.py",)
QUEUE = ("propagation/test_queue.py",)
PROCESSES = ("propagation/test_processes.py",)
CELERY = ("propagation/test_celery.py",)
WORKERS = ("propagation/test_celery_workers.py::test_nothing_is_left_in_the_worker_between_tasks",)
DRAMATIQ = ("propagation/test_dramatiq.py",)

KINDS = ("link", "link_error", "chain")

MUTATIONS = (
    Mutation(
        "a session does not go to another thread",
        "propagation/threads.py",
        "    snapshot.run(session_var.set, None)\n",
        "",
        THREADS,
    ),
    Mutation(
        "each call has a context of its own",
        "propagation/threads.py",
        "        context = snapshot.copy()\n        result",
        "        context = snapshot\n        result",
        THREADS,
    ),
    Mutation(
        "what makes a generator is refused",
        "propagation/threads.py",
        "        raise TypeError(_GENERATOR.format(function))\n    snapshot",
        "        pass\n    snapshot",
        THREADS,
    ),
    Mutation(
        "each step of a coroutine runs in its context",
        "propagation/threads.py",
        "                step = partial(run, coroutine.send, (yield awaited))\n",
        "                step = partial(coroutine.send, (yield awaited))\n",
        THREADS,
    ),
    Mutation(
        "an executor's work runs in the context of who submitted it",
        "propagation/threads.py",
        "submit(copy_context(fn), *args",
        "submit(fn, *args",
        THREADS,
    ),
    Mutation(
        "an item of a queue is for the organization that was bound",
        "propagation/queues.py",
        "        async with self._tenancy.organization(taken.organization_id):\n",
        "        from contextlib import nullcontext\n\n        async with nullcontext():\n",
        QUEUE,
    ),
    Mutation(
        "an item of a queue is taken without a session",
        "propagation/queues.py",
        "                bind(session_var, None),\n",
        "",
        QUEUE,
    ),
    Mutation(
        "a function for a process is for an organization",
        "propagation/processes.py",
        "    current_organization()\n    kinds",
        "    kinds",
        PROCESSES,
        needs_slow=True,
    ),
    Mutation(
        "a process binds the organization",
        "propagation/processes.py",
        "        with working_for(_tenancy_at(self.tenancy), self.carried, "
        "origin=self.carried.origin):\n            return",
        "        if True:\n            return",
        PROCESSES,
        needs_slow=True,
    ),
    Mutation(
        "work without an organization is not begun",
        "propagation/carried.py",
        '        raise OrganizationContextMissing(f"{origin} came without an organization")\n',
        "        yield\n        return\n",
        DRAMATIQ,
    ),
    Mutation(
        "work begins with a look into the registry",
        "propagation/carried.py",
        "tenancy.organization(find_now(tenancy, carried.organization_id)),",
        "tenancy.organization(carried.organization_id),",
        DRAMATIQ,
    ),
    Mutation(
        "work of the control side has no organization",
        "propagation/carried.py",
        "        bind(organization_var, None),\n",
        "",
        (*DRAMATIQ, *CELERY),
    ),
    Mutation(
        "work of the control side carries no organization",
        "propagation/carried.py",
        'return (given or here).model_copy(update={"organization_id": None})',
        "return given or here",
        CELERY,
    ),
    Mutation(
        "nothing is published without an organization",
        "propagation/carried.py",
        "        if here.organization_id is None:\n            raise",
        "        if False:\n            raise",
        (*CELERY, *DRAMATIQ),
    ),
    Mutation(
        "nothing is published for another organization than the one bound",
        "propagation/carried.py",
        "    if here.organization_id not in (None, given.organization_id):\n",
        "    if False:\n",
        (*CELERY, *DRAMATIQ),
    ),
    Mutation(
        "what follows from work is for its organization",
        "propagation/carried.py",
        "        elif given.organization_id != self.organization_id:\n",
        "        elif False:\n",
        CELERY,
    ),
    Mutation(
        "a task leaves nothing in the context of its thread",
        "adapters/celery.py",
        "        return copy_context().run(self._work, request, args, kwargs)\n",
        "        return self._work(request, args, kwargs)\n",
        WORKERS,
        needs_slow=True,
    ),
    Mutation(
        "a task that is run here and now is for the current organization",
        "adapters/celery.py",
        '        options["headers"] = _headers_to_publish(self.app, self.name, self, '
        'options.get("headers"))\n',
        "",
        CELERY,
    ),
    Mutation(
        "a task is put off while it cannot begin",
        "adapters/celery.py",
        "                self._put_off(request, carried, error, retry_after)\n",
        "                raise\n",
        CELERY,
    ),
    Mutation(
        "a task of the control side is one as a function, too, of Celery",
        "adapters/celery.py",
        "        if _is_control(self):\n            with working_for_control(Carried.from_",
        "        if False:\n            with working_for_control(Carried.from_",
        CELERY,
    ),
    Mutation(
        "an error callback that the main process calls is for the task's organization",
        "adapters/celery.py",
        "        if carried is None and args and isinstance(args[0], Context):\n",
        "        if False:\n",
        CELERY,
    ),
    *(
        Mutation(
            f"what follows by {kind!r} says itself for whom it is",
            "adapters/celery.py",
            '_FOLLOWING = ("link", "link_error", "chain")',
            f"_FOLLOWING = {tuple(one for one in KINDS if one != kind)!r}",
            CELERY,
        )
        for kind in KINDS
    ),
    Mutation(
        "the body of a chord says itself for whom it is",
        "adapters/celery.py",
        "                body.update(_after(app, carried, body))\n",
        "                pass\n",
        CELERY,
    ),
    Mutation(
        "what follows from a task of the control side is for who published that",
        "adapters/celery.py",
        "            carried = Carried.from_context()\n        if carried is not None",
        "            pass\n        if carried is not None",
        CELERY,
    ),
    Mutation(
        "a base class that knows no organization is refused",
        "adapters/celery.py",
        "    if task is not None and not isinstance(task, OrganizationTask):\n",
        "    if False:\n",
        CELERY,
    ),
    Mutation(
        "a message that was delayed is not taken for one that is sent",
        "adapters/dramatiq.py",
        "        if isinstance(current_thread(), ConsumerThread):\n",
        "        if False:\n",
        DRAMATIQ,
    ),
    Mutation(
        "a message that may not be sent is not sent",
        "adapters/dramatiq.py",
        "        except Exception as error:  # dramatiq would log it, and send the message\n"
        "            raise MessageRefused(str(error)) from error\n",
        "        except Exception:\n            raise\n",
        DRAMATIQ,
    ),
    Mutation(
        "what a group calls at its end is for its organization",
        "adapters/dramatiq.py",
        'carried.follow(callback["options"], name=callback["actor_name"])',
        "pass",
        DRAMATIQ,
    ),
    Mutation(
        "a message for an organization that opens soon is put off",
        "adapters/dramatiq.py",
        "if isinstance(error, OrganizationUnavailable) and error.retry_after is not None:",
        "if False:",
        DRAMATIQ,
    ),
    Mutation(
        "an actor is not run where its organization cannot be found",
        "adapters/dramatiq.py",
        "        except Exception as error:  # dramatiq would log it, and run the actor\n"
        '            raise MessageRefused(f"{type(error).__name__}: {error}") from error\n',
        "        except Exception:\n            raise\n",
        DRAMATIQ,
    ),
    Mutation(
        "nothing stays bound in a worker's thread",
        "adapters/dramatiq.py",
        '        """Unbind it, after all other middleware."""\n        self._leave()\n',
        "        pass\n",
        DRAMATIQ,
    ),
    Mutation(
        "an actor of the control side is one as a function, too",
        "adapters/dramatiq.py",
        "            actor.fn = _of_control_side(actor.fn)\n",
        "            pass\n",
        DRAMATIQ,
    ),
    Mutation(
        "what is refused for good is not retried",
        "adapters/dramatiq.py",
        "        return not isinstance(error, _RefusedForGood) and retry_when(retries, error)\n",
        "        return retry_when(retries, error)\n",
        DRAMATIQ,
    ),
)
