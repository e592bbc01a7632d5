"""Arms with a name, a prompt and tools in the config: their files, what is refused, what stays."""

from dataclasses import replace
from pathlib import Path

import pytest

from canary.config import Config, ConfigError, parse
from control.monitor import monitor
from records.facts.arm_texts import KeptTexts
from routing.canary import RequestChanges, arm_names, definition

CONFIG = """\
providers:
  openai: {api: openai, base_url: "https://api.openai.com/v1"}
canaries:
  - name: trial
    match: {models: [bot]}
    baseline: {provider: openai, model: bot}
    candidate: {provider: openai, model: bot, ARM}
    share: 5%
"""
PROMPT = "prompt: {find: old.md, put: new.md}"


def read(folder: Path, arm: str, kept: dict[str, str] | None = None) -> Config:
    texts = KeptTexts(by_canary={"trial": kept or {}})
    return parse(CONFIG.replace("ARM", arm), "canary.yaml", {}, folder=folder, kept=lambda store, data: texts)


def refusal(folder: Path, arm: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(folder, arm)
    return str(refused.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "old.md").write_bytes(b"Be kind.\r\nBe brief.\r\n")
    (tmp_path / "new.md").write_bytes("\ufeffBe kind ☺.\n\n".encode())
    return tmp_path


def test_a_files_last_line_end_is_no_part_of_its_text(folder: Path) -> None:
    config = read(folder, PROMPT)
    prompt = config.canaries["trial"].canary.candidate.prompt
    assert prompt is not None
    assert config.texts[prompt.find] == "Be kind.\r\nBe brief."
    assert config.texts[prompt.put] == "Be kind ☺.\n"
    assert config.text_files == (folder / "old.md", folder / "new.md")
    warned = "candidate.prompt.find: has the line ends of Windows (CRLF)"
    assert sum(warned in each for each in config.warnings) == 1


def test_the_texts_are_in_the_definition_and_the_name_is_not(folder: Path) -> None:
    plain, named = (read(folder, arm).canaries["trial"].canary for arm in (PROMPT, f"{PROMPT}, name: v8"))
    assert definition(plain) == definition(named)
    (folder / "new.md").write_text("Another.")
    assert definition(read(folder, PROMPT).canaries["trial"].canary) != definition(plain)
    assert plain.candidate.fingerprint == named.candidate.fingerprint
    short = named.candidate.fingerprint[:6]
    assert arm_names(named.baseline, named.candidate) == ("openai/bot", f"openai/bot · v8 ({short})")


def test_a_new_model_with_a_new_prompt_is_named_by_both(folder: Path) -> None:
    arms = read(folder, f"{PROMPT}, name: v8").canaries["trial"].canary
    newer = replace(arms.candidate, model="bot-2")
    words = f"v8 ({newer.fingerprint[:6]})"
    assert arm_names(arms.baseline, newer) == ("openai/bot", f"openai/bot-2 · {words}")
    told = monitor.arm_names(replace(arms, candidate=newer))
    assert (told.baseline, told.candidate) == ("bot", f"bot-2 · {words}")
    assert arm_names(arms.candidate, newer) == ("openai/bot", "openai/bot-2")
    effort = replace(
        arms.baseline, model="bot-2", request=RequestChanges(set=(("reasoning_effort", '"low"'),))
    )
    assert arm_names(arms.baseline, effort) == ("openai/bot", "openai/bot-2")


def test_a_started_canary_keeps_its_texts_whatever_became_of_the_files(folder: Path) -> None:
    kept = {"old.md": "Be kind.", "new.md": "Be old."}
    before = read(folder, PROMPT, kept).canaries["trial"]
    assert before.changed_texts == ("old.md", "new.md")
    (folder / "new.md").unlink()
    (folder / "old.md").write_text("Be kind.")
    config = read(folder, PROMPT, kept)
    assert config.canaries["trial"].changed_texts == ("new.md",)
    assert config.canaries["trial"].canary == before.canary
    assert set(config.texts.values()) == {"Be kind.", "Be old."}


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (
            "prompt: {find: none.md, put: new.md}",
            "candidate.prompt.find: {folder}/none.md cannot be read: No such",
        ),
        ("prompt: {find: empty.md, put: new.md}", "candidate.prompt.find: is empty"),
        ("prompt: {find: old.md, put: old.md}", "candidate.prompt.put: has the same text as `find`"),
        ("prompt: {find: old.md}", "candidate.prompt.put: is missing"),
        ("prompt: new.md", "candidate.prompt: must be a mapping, such as {{find: …, put: …}}"),
        ("prompt: {find: latin.md, put: new.md}", "latin.md is not UTF-8"),
        ("tools: {get_order: nul.md}", "candidate.tools.get_order: {folder}/nul.md is no text"),
        ("tools: [a]", "candidate.tools: must be a mapping"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(folder: Path, arm: str, message: str) -> None:
    for name, data in {"empty.md": b"\n", "latin.md": b"\xe9", "nul.md": b"a\0b"}.items():
        (folder / name).write_bytes(data)
    said = refusal(folder, arm)
    assert said.startswith("canary.yaml:7: canaries[0].candidate")
    assert message.format(folder=folder) in said
    assert len(said.splitlines()) == 1


def test_a_text_may_stand_in_the_file_itself(tmp_path: Path) -> None:
    arm = "prompt: {find: {file: a, text: Be kind.}, put: {file: b, text: ''}}"
    assert set(read(tmp_path, arm).texts.values()) == {"Be kind.", ""}


@pytest.mark.parametrize(
    ("match", "arm", "warned"),
    [
        ("paths: [/v1/embeddings]", "model: other", True),
        ("models: [text-embedding-3-large]", "model: other", True),
        ("models: [voyage-4]", "model: other", True),
        ("models: [gpt]", "model: BAAI/bge-m3", True),
        ("models: [gpt]", "model: other", False),
        ("models: [embedder], paths: [/v1/chat/completions]", "model: other", False),
        ("paths: [/v1/embeddings]", "model: bot", False),
        ("paths: [/v1/embeddings]", "model: bot, request: {set: {dimensions: 256}}", True),
        ("paths: [/v1/embeddings]", "}\n    standing: true\n    start: {", True),  # whatever comes next
    ],
)
def test_two_models_over_one_index_are_a_warning(match: str, arm: str, warned: bool) -> None:
    text = (
        CONFIG.replace("models: [bot]", match)
        .replace("model: bot, ARM", arm)
        .replace("start: {}", "start: auto")
    )
    assert (
        any("whose vectors cannot be compared" in each for each in parse(text, "canary.yaml", {}).warnings)
        == warned
    )
