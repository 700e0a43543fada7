"""Who was in a round, who was not, and why: written once, when the round closes."""

from django.db import models

from apps.federation.states import Presence


class Attendance(models.Model):
    """One agent's part in a round that has closed.

    `waited_for`: the round expected it. `code` says why its update was refused. `samples` are the scans that it trained
    with, and `share` (0 to 1) is its part in the version, where the round made one. `classes` holds how many scans of
    each class its newest report counted, in the federation's order; it is empty where it has never reported.
    """

    round = models.ForeignKey("federation.Round", on_delete=models.PROTECT, related_name="attendance")
    agent = models.ForeignKey("federation.Agent", on_delete=models.PROTECT, related_name="attendance")
    presence = models.CharField(max_length=12, choices=Presence.choices)
    code = models.CharField(max_length=60, blank=True)
    waited_for = models.BooleanField()
    samples = models.PositiveIntegerField(null=True)
    share = models.FloatField(null=True)
    classes = models.JSONField(default=list)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["round", "agent"], name="attendance_once")]

    def __str__(self) -> str:
        return f"{self.agent_id} in round {self.round_id} ({self.presence})"
