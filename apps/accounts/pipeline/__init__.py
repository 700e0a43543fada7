"""What can happen to people, hospitals and passwords. Pages, admin and commands call these; nothing else does it."""

from apps.accounts.pipeline.passwords import (
    add_person,
    change_password,
    find_password_link,
    issue_password_link,
    use_password_link,
)
from apps.accounts.pipeline.people import (
    FIRST_ADMIN_MINUTES,
    AccountError,
    add_member,
    assign_permissions,
    change_person,
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
from apps.accounts.pipeline.sessions import begin_session, end_sessions, is_signed_in
from apps.accounts.pipeline.sign_in import CodeNeeded, Locked, authenticate, confirm

__all__ = [
    "FIRST_ADMIN_MINUTES",
    "AccountError",
    "CodeNeeded",
    "Locked",
    "add_member",
    "add_person",
    "assign_permissions",
    "authenticate",
    "begin_session",
    "change_password",
    "change_person",
    "change_role",
    "checked_name",
    "confirm",
    "create_first_admin",
    "create_hospital",
    "create_person",
    "end_sessions",
    "find_first_admin_link",
    "find_password_link",
    "is_signed_in",
    "issue_first_admin_link",
    "issue_password_link",
    "remove_member",
    "set_active",
    "use_password_link",
]
