"""The runs, what was asked of them, and what they did: holdfast_thread, _run, _entry, _cancel_request, _step.

Only the ledger writes these rows, each transition in one guarded statement; the models are for
reading, for the admin and for the migrations.
"""

from __future__ import annotations

from django.db import models


class RunStatus(models.TextChoices):
    """A run's life: queued → running → succeeded | failed | cancelled; running → interrupted → queued."""

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to the run any more, unless it is retried."""
        return self in {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}


class Thread(models.Model):
    """One conversation or job that runs follow each other on; the row is what R20 locks."""

    id = models.CharField(primary_key=True, max_length=255)
    created_at = models.DateTimeField()
    backend = models.TextField(null=True)  # noqa: DJ001 - NULL: its checkpoints are in this database

    class Meta:
        db_table = "holdfast_thread"

    def __str__(self) -> str:
        return self.id


class RunRow(models.Model):
    """One run: what was asked, who executes it, how it ended."""

    id = models.UUIDField(primary_key=True, editable=False)
    thread = models.ForeignKey(
        Thread, models.PROTECT, related_name="runs", db_constraint=False, db_index=False
    )
    graph = models.CharField(max_length=200)
    version = models.CharField(max_length=100)
    status = models.CharField(max_length=16, choices=RunStatus.choices)

    input_type = models.CharField(max_length=100)
    input = models.BinaryField(null=True)
    config = models.JSONField(default=dict)
    context_type = models.CharField(max_length=100, default="null")
    context = models.BinaryField(null=True)
    metadata = models.JSONField(default=dict)
    priority = models.SmallIntegerField(default=0)
    queue = models.CharField(max_length=200, null=True)  # noqa: DJ001 - NULL: the project's routes decide
    multitask_strategy = models.CharField(max_length=16, default="enqueue")
    idempotency_key = models.CharField(max_length=255, null=True, unique=True)  # noqa: DJ001 - NULL: none
    request_hash = models.CharField(max_length=64)

    not_before = models.DateTimeField()
    deadline = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    holds_thread = models.BooleanField(default=False)
    deliveries = models.IntegerField(default=0)
    crashes = models.IntegerField(default=0)
    max_crashes = models.SmallIntegerField(default=3)
    crash_marker = models.TextField(null=True)  # noqa: DJ001 - NULL: no crash so far

    history = models.SmallIntegerField(null=True)
    thin_at = models.DateTimeField(null=True)

    token = models.UUIDField(null=True, unique=True)
    owner = models.CharField(max_length=255, null=True)  # noqa: DJ001 - NULL: nobody
    renewed_at = models.DateTimeField(null=True)
    session_pid = models.IntegerField(null=True)
    session_start = models.DateTimeField(null=True)
    draining = models.BooleanField(default=False)
    settled_by = models.UUIDField(null=True)

    rung_at = models.DateTimeField(null=True)
    rings = models.IntegerField(default=0)
    bell_at = models.DateTimeField(null=True)

    result_type = models.CharField(max_length=100, null=True)  # noqa: DJ001 - NULL: no result
    result = models.BinaryField(null=True)
    error = models.JSONField(null=True)
    questions = models.JSONField(null=True)
    answers_type = models.CharField(max_length=100, null=True)  # noqa: DJ001 - NULL: no answers
    answers = models.BinaryField(null=True)

    class Meta:
        db_table = "holdfast_run"
        verbose_name = "run"
        constraints = [
            # R4: one holder a thread, from the first claim to the end.
            models.UniqueConstraint(
                fields=["thread"], condition=models.Q(holds_thread=True), name="holdfast_run_holder"
            ),
        ]
        indexes = [
            models.Index(
                fields=["thread", "created_at"],
                name="holdfast_run_unfinished",
                condition=models.Q(status__in=["queued", "running", "interrupted"]),
            ),
            models.Index(fields=["not_before"], name="holdfast_run_due", condition=models.Q(status="queued")),
            models.Index(fields=["id"], name="holdfast_run_running", condition=models.Q(status="running")),
            models.Index(fields=["bell_at"], name="holdfast_run_bell", condition=models.Q(status="queued")),
            models.Index(
                fields=["deadline"],
                name="holdfast_run_deadline",
                condition=models.Q(status__in=["queued", "running", "interrupted"], deadline__isnull=False),
            ),
            models.Index(
                fields=["thin_at"],
                name="holdfast_run_thin",
                condition=models.Q(status__in=["succeeded", "failed", "cancelled"], thin_at__isnull=False),
            ),
            models.Index(fields=["thread", "-id"], name="holdfast_run_thread"),
            models.Index(fields=["graph", "-id"], name="holdfast_run_graph"),
        ]

    def __str__(self) -> str:
        return f"{self.graph} {self.id}"


class Entry(models.Model):
    """The mark that a run's input has been applied (R5), inserted beside its first checkpoint."""

    run_id = models.UUIDField(primary_key=True)
    thread_id = models.CharField(max_length=255)
    checkpoint_id = models.TextField()
    progress = models.IntegerField(db_default=0)
    """Writes to a backend other than this database; what is written here is counted where it stands (R12)."""

    class Meta:
        db_table = "holdfast_entry"
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return str(self.run_id)


class CancelRequest(models.Model):
    """Somebody wants the run to end (R14); a row of its own, so that a slow view holds no run row."""

    run_id = models.UUIDField(primary_key=True)
    rollback = models.BooleanField(default=False)
    reason = models.TextField(default="")
    requested_at = models.DateTimeField()

    class Meta:
        db_table = "holdfast_cancel_request"

    def __str__(self) -> str:
        return str(self.run_id)


class Step(models.Model):
    """One execution of one node, `@task` or cached hit: the timeline of a run."""

    id = models.BigAutoField(primary_key=True)
    run_id = models.UUIDField()
    delivery = models.IntegerField()
    step = models.IntegerField()
    node = models.TextField()
    task_id = models.TextField()
    namespace = models.TextField(default="")
    owner = models.CharField(max_length=255)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=16)

    class Meta:
        db_table = "holdfast_step"
        constraints = [
            models.UniqueConstraint(fields=["run_id", "delivery", "task_id"], name="holdfast_step_once"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.step} {self.node}"


class Incarnation(models.Model):
    """One row in an UNLOGGED table: a crash or promotion of the server empties it (R9)."""

    singleton = models.BooleanField(primary_key=True, default=True)
    since = models.DateTimeField()

    class Meta:
        db_table = "holdfast_incarnation"

    def __str__(self) -> str:
        return str(self.since)
