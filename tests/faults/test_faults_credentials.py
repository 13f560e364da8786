"""Publications that outlive their credentials."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from wildcast_server.publish import Publisher

LIFETIME = 2
"""Of credentials, in seconds."""
AT_A_TIME = 10
Start = Callable[..., Any]

_PROCESS = f"""#!/bin/sh
echo >> "$0.calls"
expiry=$(( $(date +%s) + {LIFETIME} ))
printf '{{"Version": 1, "AccessKeyId": "AK%s", "SecretAccessKey": "canary-secret", "SessionToken": "t", ' "$expiry"
printf '"Expiration": "%s"}}' "$(date -u -d "@$expiry" +%Y-%m-%dT%H:%M:%SZ)"
"""


@pytest.fixture
def short_lived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile whose credentials end after two seconds; the file in which its process notes its calls."""
    process = tmp_path / "credentials.sh"
    process.write_text(_PROCESS)
    process.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[profile short]\ncredential_process = {process}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "short")
    return tmp_path / "credentials.sh.calls"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_publications_outlive_their_credentials(
    short_lived: Path,
    start_endpoint: Start,
    make_publisher: Callable[..., Publisher],
    work: Any,
    figures: Callable[..., None],
):
    """Each of them takes longer than its credentials live, and completes."""
    count = int(os.environ.get("FAULTS_EXPIRIES", "100"))
    endpoint = start_endpoint("--token-seconds", str(LIFETIME), "--delay-ms", "250")

    def publish(number: int) -> float:
        publisher = make_publisher(
            endpoint.url,
            concurrency=2,
            access_key_id=None,
            secret_access_key=None,
            response_timeout=20.0,
        )
        directory = work.make(f"c{number}", small=20, large=number % 10 == 9)
        began = time.monotonic()
        publisher.publish(directory, directory.name)
        seconds = time.monotonic() - began
        work.assert_published(endpoint, directory, f"outputs/{directory.name}")
        return seconds

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        took = list(threads.map(publish, range(count)))
    assert min(took) > LIFETIME
    assert endpoint.stats()["unfinished_uploads"] == []
    figures(
        "Credentials that live 2 s",
        complete=f"{count} of {count}",
        seconds_each=f"{min(took):.1f} to {max(took):.1f}",
        credentials_fetched=len(short_lived.read_text().splitlines()),
        refused_as_expired=endpoint.stats()["refused"].get("ExpiredToken", 0),
    )
