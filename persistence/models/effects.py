"""holdfast_effect: the ledger of side effects (P4, R19), one row an effect, written under the fence."""

from __future__ import annotations

from django.db import models


class EffectState(models.TextChoices):
    """begun → done; an at_most_once effect that neither finished nor surely failed is in doubt."""

    BEGUN = "begun"
    DONE = "done"
    IN_DOUBT = "in_doubt"


class Effect(models.Model):
    """One call of a guarded ``@task``."""

    key = models.CharField(primary_key=True, max_length=64)
    run_id = models.UUIDField(db_index=True)
    thread_id = models.CharField(max_length=255)
    task_id = models.TextField()
    function = models.TextField()
    call = models.IntegerField()
    kind = models.CharField(max_length=16)
    arguments_hash = models.CharField(max_length=64)
    arguments = models.TextField(default="")
    state = models.CharField(max_length=16, choices=EffectState.choices)
    attempts = models.IntegerField(default=1)
    answers = models.IntegerField(default=0)
    error = models.TextField(default="")
    result_type = models.CharField(max_length=100, null=True)  # noqa: DJ001 - NULL: none yet
    result = models.BinaryField(null=True)
    begun_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)
    token = models.UUIDField()
    checkpoint_id = models.TextField(null=True)  # noqa: DJ001 - NULL: begun before this column was made
    """The thread's newest checkpoint, in the root namespace, when it was begun."""

    class Meta:
        db_table = "holdfast_effect"

    def __str__(self) -> str:
        return f"{self.function} {self.key}"
