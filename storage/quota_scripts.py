"""The quota scripts, each as one call for one tenant."""

from datetime import datetime
from typing import Any

import ormsgpack

from storage.quota_wire import Question, frame, user_digest
from storage.redis_client import AnyRedis, script
from storage.redis_keys import Area, redis_key
from tenancy.ids import SubjectId, TenantId

KEYS = ("rate", "slots", "counters", "runs", "due")  # in the order the scripts expect
SCRIPTS = {
    "admit": ("shared", "holds", "admit"),
    "reserve": ("shared", "holds", "reserve"),
    "settle": ("shared", "settling", "settle"),
    "release": ("shared", "settling", "release"),
    "renew": ("shared", "renew"),
    "standings": ("shared", "standings"),
    "seed": ("shared", "seed"),
    "inspect": ("shared", "inspect"),
    "correct": ("shared", "correct"),
}


async def ask(
    redis: AnyRedis,
    name: str,
    tenant_id: TenantId,
    subject_id: SubjectId | None,
    question: Question,
    *,
    now: datetime,
    frozen: bool,
) -> Any:
    """The reply of a script; `frozen` says that `now` takes the place of Redis's own clock."""
    keys = [redis_key(tenant_id, Area.QUOTA, key) for key in KEYS]
    told = frame(now, frozen=frozen)
    told |= {key: value for key, value in question.items() if value is not None}
    told |= {"user": user_digest(subject_id), "subject": subject_id or ""}
    return await script(*SCRIPTS[name]).run(redis, keys, ormsgpack.packb(told))
