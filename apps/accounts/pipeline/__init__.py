"""What can happen to people, hospitals and passwords. Pages, admin and commands call these; nothing else does it."""

from apps.accounts.pipeline.people import (
    FIRST_ADMIN_MINUTES,
    AccountError,
    add_member,
    assign_permissions,
    change_role,
    checked_name,
    create_first_admin,
    create_hospital,
    create_person,
    find_first_admin_link,
    issue_first_admin_link,
    remove_member,
    set_active,
)
from apps.accounts.pipeline.sign_in import Locked, authenticate

__all__ = [
    "FIRST_ADMIN_MINUTES",
    "AccountError",
    "Locked",
    "add_member",
    "assign_permissions",
    "authenticate",
    "change_role",
    "checked_name",
    "create_first_admin",
    "create_hospital",
    "create_person",
    "find_first_admin_link",
    "issue_first_admin_link",
    "remove_member",
    "set_active",
]
