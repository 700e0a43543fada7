"""Jobs of the hub under test, in every state, made in the administrator's process (see tests/flows/office.py)."""

# ruff: noqa: PLC0415 - in the test process, models must not be imported

from typing import Any

_at_work: list[Any] = []


def work_on_a_job(name: str, per_class: int = 6, epochs: int = 5) -> str:
    """Somebody's job, to be proposed, is with a worker, which is this process: as fast as `tell_epoch` says."""
    from apps.audit.api import transaction
    from apps.finetune.pipeline import claim, jobs
    from apps.finetune.states import JobState

    job = draft_with_scans(name, per_class)
    with transaction():
        # In one: the hub's own worker finds nothing to do.
        jobs.fine_tune(job, epochs=epochs, propose=True, note="scans of our new scanner")
        held = claim.take(job.pk)
    assert held is not None
    # It gives the sign of life from now on; `stop_working` and `fail_it` end it.
    _at_work.append(held.__enter__())
    held.move(JobState.PREPARING)
    held.move(JobState.TRAINING)
    return str(job.pk)


def take_the_lease(name: str) -> None:
    """Somebody has it."""
    from apps.accounts.models import User
    from apps.finetune.pipeline import lease

    lease.take(User.objects.get(username=name))


def begin_with_scans(name: str) -> str:
    """Somebody's job has scans of all classes, and one that nobody said the class of."""
    import io

    import numpy as np

    from apps.finetune.pipeline import scans
    from hospintel_core import phantoms

    job, made = draft_with_scans(name, 6), io.BytesIO()
    phantoms.draw(0, np.random.default_rng(99), 64).save(made, "PNG")
    scans.add(job, [("scan.png", made)], label=None)
    return str(job.pk)


def begin_a_job(name: str) -> str:
    """Somebody has the lease and a job without scans."""
    return str(draft_with_scans(name, 0).pk)


def end_the_lease(name: str) -> None:
    """The job goes with it."""
    from apps.accounts.models import User
    from apps.finetune.pipeline import lease

    lease.release(User.objects.get(username=name), by="holder")


def draft_with_scans(name: str, per_class: int) -> Any:
    """Take the lease for somebody and begin a job with scans of all classes."""
    import io

    import numpy as np

    from apps.accounts.models import User
    from apps.federation.models import Federation
    from apps.finetune.pipeline import jobs, lease, scans
    from hospintel_core import phantoms

    user, federation = User.objects.get(username=name), Federation.objects.get(pk="brain-mri")
    lease.take(user, federation)
    job = jobs.create(user, federation)
    for label in range(len(federation.classes) if per_class else 0):
        files = []
        for number in range(per_class):
            made = io.BytesIO()
            phantoms.draw(label, np.random.default_rng((17, label, number)), 64).save(made, "PNG")
            files.append(("scan.png", made))
        added = scans.add(job, files, label=label)
        assert len(added.scans) == per_class
    return job


def tell_epoch(number: int) -> None:
    """The worker has got so far: losses are 1 / epoch."""
    epochs = [{"epoch": n, "loss": round(1 / n, 4), "accuracy": 0.5} for n in range(1, number + 1)]
    _at_work[-1].tell({"epochs": epochs})


def stop_working(name: str) -> None:
    """Cancel the job and give the lease back."""
    from apps.accounts.models import User
    from apps.finetune.pipeline import jobs, lease

    held, user = _at_work.pop(), User.objects.get(username=name)
    jobs.cancel(held.job, actor=user.actor)
    held.__exit__(None, None, None)
    lease.release(user, by="holder")


def newest_job() -> str:
    """The id of the job that was begun last."""
    return str(_newest().pk)


def _newest() -> Any:
    from apps.finetune.models import Job

    return Job.objects.select_related("federation", "owner", "base").latest("created_at")


def train_it() -> None:
    """The newest job is done, by this process: every scan has a class, it is sent off, trained, measured."""
    from apps.audit.api import transaction
    from apps.finetune.pipeline import claim, jobs, scans, train

    job = _newest()
    for scan in job.scans.filter(label=None):
        scans.set_class(job, scan, 0)
    with transaction():
        # In one: the hub's own worker finds nothing to do.
        jobs.fine_tune(job, epochs=3)
        held = claim.take(job.pk)
    assert held is not None
    with held:
        train._Training(held).run()


def refuse_it() -> None:
    """The newest job was to be proposed by itself, and that was refused."""
    from apps.finetune.models import Job

    Job.objects.filter(pk=newest_job()).update(propose=True, not_proposed="lease_lost")


def propose_it() -> None:
    """The newest job's version waits for an administrator."""
    from apps.finetune.pipeline import jobs

    jobs.propose(_newest(), note="scans of our new scanner")


def fail_it(name: str) -> None:
    """A job of somebody's was given up."""
    from apps.finetune.states import JobState

    work_on_a_job(name)
    held = _at_work.pop()
    held.end(JobState.FAILED, code="worker_lost")
    held.__exit__(None, None, None)
