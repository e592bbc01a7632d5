import pytest

from canary.config import ConfigError, ServerSettings
from canary.config.quantity import HostPort

FILE = ServerSettings(workers=2, data="from-file", grace_s=60.0)


def test_nothing_given_leaves_the_files_settings() -> None:
    assert FILE.overridden({}, {}) == FILE
    assert FILE.overridden({"CANARY_DATA": ""}, {"data": None}) == FILE


def test_variables_stand_over_the_file_and_flags_over_both() -> None:
    settings = FILE.overridden(
        {
            "CANARY_TRAFFIC": "0.0.0.0:80",
            "CANARY_ADMIN": "[::1]:81",
            "CANARY_WORKERS": "3",
            "CANARY_DATA": "from-variable",
            "CANARY_GRACE": "5s",
        },
        {"workers": "4", "data": "from-flag"},
    )
    assert settings == ServerSettings(
        traffic=HostPort(host="0.0.0.0", port=80),
        admin=HostPort(host="::1", port=81),
        workers=4,
        data="from-flag",
        grace_s=5.0,
    )


def test_all_that_cannot_be_read_is_named_by_flag_or_variable() -> None:
    with pytest.raises(ConfigError) as refused:
        FILE.overridden({"CANARY_GRACE": "600", "CANARY_WORKERS": "0"}, {"traffic": "8080", "data": ""})
    assert str(refused.value).splitlines() == [
        '--traffic: "8080" is not an address; write 127.0.0.1:8080',
        'CANARY_WORKERS: "0" is not a number of workers; write a number from 1 to 256',
        "--data: the folder's name is empty; name a folder, for example canary-data",
        'CANARY_GRACE: a duration needs a unit: write "600s" for seconds (or ms, m, h, d, w)',
    ]


def test_the_two_listeners_may_not_share_an_address() -> None:
    with pytest.raises(
        ConfigError, match=r"--admin: the traffic listener uses 127\.0\.0\.1:8080 too; change one port"
    ):
        ServerSettings().overridden({}, {"admin": "127.0.0.1:8080"})
    free = {"traffic": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    assert ServerSettings().overridden({}, free).admin.port == 0
    assert ServerSettings().overridden({}, {"admin": "127.0.0.1:8080", "role": "admin"}).role == "admin"
