"""TLS to a provider: verified, at least 1.2, HTTP/1.1 only."""

import ssl

import pytest
import trustme

from proxy.network.upstream.pool import tls_context
from proxy.network.upstream.response import UpstreamError
from tests.proxy.raw_provider import OK, playing, pool, post, read_all


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def serving(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(*names).configure_cert(context)
    return context


def test_a_trusted_provider_is_spoken_to_in_http_1_1_and_kept(run, raw, authority, ca_file):
    async def scene():
        async with raw(playing(OK, OK), tls=serving(authority, "127.0.0.1")) as provider, pool() as upstreams:
            entry = provider.entry(ca_file=ca_file)
            for _ in range(2):
                assert await read_all(await post(upstreams, entry)) == b"ok"
            assert len(provider.wires) == 1
            spoken = provider.wires[0].writer.get_extra_info("ssl_object")
            assert spoken.selected_alpn_protocol() == "http/1.1"

    run(scene())


@pytest.mark.parametrize("name", ["other.example", "127.0.0.2"])
def test_a_certificate_for_another_name_is_refused(run, raw, authority, ca_file, name):
    async def scene():
        async with raw(playing(OK), tls=serving(authority, name)) as provider, pool() as upstreams:
            with pytest.raises(UpstreamError) as caught:
                await post(upstreams, provider.entry(ca_file=ca_file))
            assert caught.value.error_type == "provider_connect"
            assert "certificate" in caught.value.message

    run(scene())


def test_an_unknown_authority_is_refused(run, raw, authority):
    async def scene():
        async with raw(playing(OK), tls=serving(authority, "127.0.0.1")) as provider, pool() as upstreams:
            with pytest.raises(UpstreamError) as caught:
                await post(upstreams, provider.entry())
            assert caught.value.error_type == "provider_connect"

    run(scene())


@pytest.mark.parametrize(("host", "asked"), [("127.0.0.1", None), ("localhost", "localhost")])
def test_a_name_is_asked_for_by_sni_and_an_address_is_not(run, raw, authority, ca_file, host, asked):
    async def scene():
        names = []
        context = serving(authority, host)
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        async with raw(playing(OK), tls=context) as provider, pool() as upstreams:
            await read_all(await post(upstreams, provider.entry(host=host, ca_file=ca_file)))
        assert names == [asked]

    run(scene())


def test_an_end_without_close_notify_is_no_clean_end(run, raw, authority, ca_file):
    async def scene():
        async def play(wire):
            await wire.request()
            await wire.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            wire.writer.transport.abort()

        async with raw(play, tls=serving(authority, "127.0.0.1")) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry(ca_file=ca_file))
            with pytest.raises(UpstreamError) as caught:
                await read_all(answer)
            assert caught.value.error_type in ("provider_truncated", "provider_reset")

    run(scene())


def test_old_versions_are_not_offered():
    context = tls_context(None)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
