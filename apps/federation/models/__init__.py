from apps.federation.models.agent import Agent, EnrolmentCode
from apps.federation.models.attempt import Attempt
from apps.federation.models.attendance import Attendance
from apps.federation.models.federation import Federation, Participation
from apps.federation.models.keys import HubKey
from apps.federation.models.round import Round, Run
from apps.federation.models.update import Update
from apps.federation.models.validation import ValidationReport, ValidationScan, ValidationSet
from apps.federation.models.version import Evaluation, ModelVersion

__all__ = [
    "Agent",
    "Attempt",
    "Attendance",
    "EnrolmentCode",
    "Evaluation",
    "Federation",
    "HubKey",
    "ModelVersion",
    "Participation",
    "Round",
    "Run",
    "Update",
    "ValidationReport",
    "ValidationScan",
    "ValidationSet",
]
