"""Bodies that the OpenAPI document shows; the tests hold them to the schemas."""

from typing import Any

EXECUTION = "exec_1769560728_10ed9d3c"
WORKFLOW = "shallow_water"
PREFIX = f"outputs/{EXECUTION}"
PARAMETERS: dict[str, Any] = {"start_time": "2026-01-28T00:00:00Z", "nsteps": 12}

SUBMITTED = {
    "workflow_name": WORKFLOW,
    "execution_id": EXECUTION,
    "status": "queued",
    "position": 0,
    "message": f"queued as {EXECUTION}",
    "timestamp": "2026-01-28T00:38:48.120391Z",
}

STATUS: dict[str, Any] = {
    "workflow_name": WORKFLOW,
    "execution_id": EXECUTION,
    "status": "running",
    "position": None,
    "progress": {"progress": None, "current_step": 5, "total_steps": 12, "simulated_hours": 30},
    "start_time": "2026-01-28T00:38:48.132804Z",
    "end_time": None,
    "execution_time_seconds": 4.2,
    "error_message": None,
    "metadata": {
        "parameters": PARAMETERS,
        "attempt": 1,
        "created_at": "2026-01-28T00:38:48.120391Z",
        "provenance": None,
        "labels": {"project": "storms"},
        "failed_step": None,
        "cancel_requested_at": None,
        "retention_seconds": None,
        "expires_at": None,
        "pinned": False,
    },
}

LISTING = {"executions": [STATUS], "next_cursor": "WyIyMDI2LTAxLTI4VDAwOjM4OjQ4LjEyMDM5MVoiLDQxLCI5ZjJjIl0"}

SIGNED = {
    "url": f"https://d111111abcdef8.cloudfront.net/{PREFIX}/*?Policy=…&Signature=…&Key-Pair-Id=K2JCJMDEHXQW5F",
    "cookies": None,
    "domain": None,
    "path": None,
    "expires_at": "2026-01-29T00:40:00Z",
}

DELIVERIES = {
    "deliveries": [
        {
            "id": 7,
            "event": "execution.completed",
            "created_at": "2026-01-28T00:39:01Z",
            "tries": 2,
            "delivered_at": "2026-01-28T00:39:12Z",
            "next_try_at": None,
            "last_status": 204,
            "last_error": None,
        }
    ]
}

PENDING = {"message": f"{EXECUTION} is running; its results are not there yet", "status": "running"}

METADATA = {
    "request_id": EXECUTION,
    "status": "completed",
    "completion_time": "2026-01-28T00:39:00.473921Z",
    "execution_time_seconds": 12.341117,
    "workflow_name": WORKFLOW,
    "created_at": "2026-01-28T00:38:48.120391Z",
    "parameters": PARAMETERS,
    "storage_type": "s3",
    "remote_path": PREFIX,
    "signed_url": f"https://d111111abcdef8.cloudfront.net/{PREFIX}/*?Policy=…&Signature=…&Key-Pair-Id=K2JCJMDEHXQW5F",
    "output_files": [
        {"path": f"{EXECUTION}/shallow_water.zarr/zarr.json", "size": 8123},
        {"path": f"{EXECUTION}/shallow_water.zarr/h/c/0/0/0", "size": 24512},
    ],
    "peak_memory_usage": 214958080,
    "device": "cpu",
    "expires_at": "2026-01-29T00:40:00Z",
    "publication": {
        "prefix": PREFIX,
        "attempt": 1,
        "files": 2,
        "bytes": 32635,
        "manifest": f"{PREFIX}/.wildcast/manifest.json.gz",
        "verified": "crc64nvme",
    },
    "datasets": [{"path": "shallow_water.zarr", "format": "zarr3", "group": ""}],
    "upload": {"seconds": 0.21, "bytes_per_second": 155404.8},
    "provenance": {
        "host": "worker-1",
        "wildcast": "0.1.0",
        "python": "3.11.9",
        "platform": "Linux-6.8.0-x86_64-with-glibc2.39",
        "workflow_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "device": "cpu",
        "peak_memory_bytes": 214958080,
        "queued_seconds": 0.012413,
        "compute_seconds": 12.0,
        "publish_seconds": 0.3,
    },
    "partial": False,
    "next_files_cursor": None,
    "result_expires_at": "2026-02-27T00:39:00.473921Z",
    "pinned": False,
}

WORKFLOWS = {"workflows": {WORKFLOW: "A global shallow-water forecast of an unstable jet."}}

SCHEMA = {
    "type": "object",
    "title": "Parameters",
    "properties": {
        "start_time": {"type": "string", "format": "date-time", "title": "Start Time"},
        "nsteps": {"type": "integer", "exclusiveMinimum": 0, "default": 12, "title": "Nsteps"},
    },
    "required": ["start_time"],
}

HEALTHY = {"status": "healthy", "timestamp": "2026-01-28T00:38:48.120391Z"}

_AWAY = "the database cannot be used now: unable to open database file"
UNHEALTHY = {
    "status": "unhealthy",
    "timestamp": "2026-01-28T00:38:48.120391Z",
    "error": _AWAY,
    "details": None,
    "detail": _AWAY,
}

METRICS = """\
# HELP wildcast_executions_completed_total Executions that ended as completed.
# TYPE wildcast_executions_completed_total counter
wildcast_executions_completed_total{workflow="shallow_water"} 17.0
# HELP wildcast_executions_unfinished Executions by status: queued, running, pending_results.
# TYPE wildcast_executions_unfinished gauge
wildcast_executions_unfinished{status="queued"} 3.0
"""
