"""What `wildcast login` keeps: private, whole, and for the server that it is for."""

import os
import pickle
import stat

import pytest

import wildcast
from wildcast import _config
from wildcast._api import Api, AsyncApi
from wildcast._config import Config, forget, load, save_login

TOKEN = "canary-token"
URL = "https://api.example.org/wildcast"

pytestmark = pytest.mark.usefixtures("home")

posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user with nothing configured; the directory of the configuration."""
    for name in ("WILDCAST_URL", "WILDCAST_TOKEN", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".config" / "wildcast"


def test_without_a_file_nothing_is_configured(home):
    """And nothing is created by looking."""
    assert load() == Config()
    assert not home.exists()


def test_a_login_is_remembered(home):
    """The server becomes the one that is meant, with its token."""
    assert save_login(URL + "/", TOKEN) == home / "config.json"
    api = Api()
    assert api.base_url == URL
    assert api.authorization == {"Authorization": f"Bearer {TOKEN}"}


@posix
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_what_is_kept_is_private(home, umask):
    """Whatever the umask, only the owner reads the file and its directory, from the first byte on."""
    before = os.umask(umask)
    try:
        save_login(URL, TOKEN)
        save_login("http://127.0.0.1:8000", None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / "config.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [path.name for path in home.iterdir()] == ["config.json"]


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_reach_is_refused(home, mode):
    """The sentence says how to mend it, and shows no token."""
    save_login(URL, TOKEN).chmod(mode)
    for use in (load, wildcast.Client, lambda: Api(URL), lambda: save_login(URL, TOKEN), lambda: forget(URL)):
        with pytest.raises(wildcast.ConfigError, match="chmod 600") as caught:
            use()
        assert TOKEN not in str(caught.value)
    # Who needs nothing of it is not stopped by it.
    assert Api(URL, "other").authorization == {"Authorization": "Bearer other"}
    assert str(home) in str(caught.value)


def test_a_token_goes_to_its_own_server_alone(monkeypatch):
    """Another host, port, scheme or path is another server; another spelling of the same is not."""
    save_login(URL, TOKEN)
    for other in (
        "http://api.example.org/wildcast",
        "https://api.example.org:8443/wildcast",
        "https://api.example.org",
        "https://api.example.org/wildcast2",
        "https://evil.example.org/wildcast",
        "https://api.example.org.evil.net/wildcast",
    ):
        assert Api(other).authorization == {}, other
        monkeypatch.setenv("WILDCAST_URL", other)
        assert Api().authorization == {}, other
    assert Api("https://API.example.org:443/wildcast/").authorization


def test_arguments_come_before_the_environment_and_that_before_the_file(monkeypatch):
    """Of the address and of the token alike."""
    save_login("http://file:1", "of-file")
    save_login("http://variable:1", "of-file-too")
    save_login("http://file:1", "of-file")
    assert (Api().base_url, Api()._token) == ("http://file:1", "of-file")
    monkeypatch.setenv("WILDCAST_URL", "http://variable:1")
    assert (Api().base_url, Api()._token) == ("http://variable:1", "of-file-too")
    monkeypatch.setenv("WILDCAST_TOKEN", "of-variable")
    assert (Api().base_url, Api()._token) == ("http://variable:1", "of-variable")
    assert (Api("http://file:1").base_url, Api("http://file:1", "given")._token) == ("http://file:1", "given")


def sent(api) -> str:
    """Return the token that goes along; empty for none."""
    return api.authorization.get("Authorization", "").removeprefix("Bearer ")


@pytest.mark.parametrize("configured", ["variable", "file"])
def test_the_environments_token_goes_to_the_configured_server_alone(monkeypatch, configured):
    """Whoever names another server, the program or somebody else's options, gets what was stored for it, or nothing."""
    monkeypatch.setenv("WILDCAST_TOKEN", TOKEN)
    save_login("http://stored:1", "of-stored")
    save_login("https://file.example.org", None)
    if configured == "variable":
        monkeypatch.setenv("WILDCAST_URL", URL)
    meant = URL if configured == "variable" else "https://file.example.org"
    for is_trusted in (True, False):
        assert sent(Api(is_trusted=is_trusted)) == TOKEN
        assert sent(Api(f"{meant}/", is_trusted=is_trusted)) == TOKEN
        assert sent(Api("http://stored:1", is_trusted=is_trusted)) == "of-stored"
        others = ("https://evil.example.org", meant.replace("https", "http"), f"{meant}2", "http://127.0.0.1:8000")
        assert {sent(Api(other, is_trusted=is_trusted)) for other in others} == {""}


def test_without_a_configured_server_a_token_goes_where_the_program_says(monkeypatch):
    """Or to the usual one; what options name is not what the program says."""
    monkeypatch.setenv("WILDCAST_TOKEN", TOKEN)
    assert sent(Api()) == sent(Api(URL)) == sent(Api("http://127.0.0.1:8000", is_trusted=False)) == TOKEN
    assert sent(Api(URL, is_trusted=False)) == ""
    opened = pickle.loads(pickle.dumps(Api(URL, is_trusted=False)))  # noqa: S301 - our own bytes
    assert sent(opened) == ""


def test_an_empty_token_is_none(monkeypatch):
    """Neither the environment's nor a stored one is sent in its place, also from another process and face."""
    save_login(URL, "of-file")
    monkeypatch.setenv("WILDCAST_TOKEN", TOKEN)
    for api in (Api(URL, ""), AsyncApi(URL, "").blocking):
        assert sent(api) == ""
        assert sent(pickle.loads(pickle.dumps(api))) == ""  # noqa: S301 - our own bytes


def test_what_is_not_there_is_named_where_it_came_from(home):
    """Nobody looks for the address in a variable that is not set."""
    save_login("http://127.0.0.1:9", None)
    api = Api()
    api._retry = wildcast._retry.Retry(attempts=1)
    with pytest.raises(wildcast.ServerUnavailableError) as caught:
        api.workflows()
    assert str(home / "config.json") in str(caught.value)


def test_logging_in_again_replaces_and_keeps_the_others():
    """One token for each server."""
    save_login("http://a:1", "one")
    save_login("http://b:1", "two")
    save_login("http://a:1/", "three")
    assert load().tokens == {"http://a:1": "three", "http://b:1": "two"}
    save_login("http://a:1", None)
    assert (load().server, load().tokens) == ("http://a:1", {"http://b:1": "two"})


def test_what_is_forgotten_is_gone():
    """The token, and that the server is the one that is meant; whether there was any is told."""
    save_login("http://a:1", "one")
    save_login("http://b:1", "two")
    assert forget("http://a:1/")
    assert (load().server, set(load().tokens)) == ("http://b:1", {"http://b:1"})
    assert forget("http://b:1")
    assert load() == Config()
    assert not forget("http://b:1")


def test_nothing_shows_a_token(home):
    """Neither a repr nor a pickle; in another process the file there is asked."""
    save_login(URL, TOKEN)
    api = Api()
    assert TOKEN not in repr(load()) + repr(api) + repr(vars(wildcast.Client()))
    pickled = pickle.dumps(api)
    assert TOKEN.encode() not in pickled
    assert pickle.loads(pickled)._token == TOKEN  # noqa: S301 - our own bytes
    assert TOKEN in (home / "config.json").read_text()


@pytest.mark.parametrize("text", ["", "{", '{"tokens": ["canary-token"]}', '{"server": 1}', "[]"])
def test_a_file_that_makes_no_sense_is_an_error(home, text):
    """Which repeats nothing of it."""
    home.mkdir(parents=True)
    (home / "config.json").touch(0o600)
    (home / "config.json").write_text(text)
    with pytest.raises(wildcast.ConfigError, match="wildcast login") as caught:
        load()
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_xdg_directory_is_respected(tmp_path, monkeypatch):
    """An absolute one; another is to be ignored."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert save_login(URL, None) == tmp_path / "xdg" / "wildcast" / "config.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert _config.config_path() == tmp_path / ".config" / "wildcast" / "config.json"


@pytest.mark.parametrize(
    ("url", "token", "kind"),
    [
        ("nowhere", "t", wildcast.InvalidUrlError),
        ("http://u:p@h", "t", wildcast.InvalidUrlError),
        (URL, "ü", ValueError),
    ],
)
def test_what_cannot_be_used_is_not_kept(home, url, token, kind):
    """It is refused when it is given, and not at the next call."""
    with pytest.raises(kind):
        save_login(url, token)
    assert not home.exists()


def test_a_place_that_cannot_be_written_is_named(home):
    """With what to do, and nothing half-written."""
    home.parent.mkdir(parents=True)
    home.write_text("a file is in the way")
    with pytest.raises(wildcast.ConfigError, match="XDG_CONFIG_HOME"):
        save_login(URL, TOKEN)
    assert load() == Config()
