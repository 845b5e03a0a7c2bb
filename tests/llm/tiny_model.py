"""A language model of a few million parameters that really answers our prompts, for testing the LLM judge on real
generation.

It learns by heart the very requests that a dozen rows of the sample dataset lead to, with replies derived from the
sample's gold labels, in some minutes on a CPU. So everything from the rendered prompt to the decision runs on
generated text, and the decisions can be compared to known ones. It knows nothing else: any other prompt gets
something that means nothing.

    python tests/llm/tiny_model.py [FOLDER]        build it (or find it in the cache) and print where it is

The folder is a model for vLLM or transformers, with `source/` (the rows as a dataset of their own) and
`expected.json` (see `build`). `cached` keeps it in `$ARHN_TINY_MODEL`, or in a folder of the user's cache, by a hash
of everything it is made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripted import ScriptedEngine, scripted_judge

from arhn_hf.config import RunConfig
from arhn_hf.engines.base import Request, Response, canonical
from arhn_hf.judges.parsing import parse_answer, parse_ranking
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine

SAMPLE = Path(__file__).resolve().parent.parent.parent / "examples"
ENOUGH = 0.95  # share of replies that must be right
SNIPPET_WORDS = 5
VOCABULARY = 16_384  # at most
EPOCHS, WHOLE_EPOCHS = 80, 16  # at most, and those of them that are certain to show whole prompts
LEARNING_RATE = 2e-3
PADDED_TOKENS = 1_200  # of one training batch, at most
HEAD, BETWEEN, TAIL = 16, 24, 20  # prompt tokens of a thinned example: its first, some between, its last
CERTAIN = 0.9  # training ends when no token of any reply is less probable
END_OF_TEXT, TURN, END_OF_TURN, THINK, END_OF_THOUGHT = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>",
)  # fmt: skip
NO_THOUGHT = f"{THINK}\n\n{END_OF_THOUGHT}"

# Any role, `system` among them. With thinking off, the prompt ends in an empty thought, as Qwen3's does. The model
# learns that empty thought too, so with thinking on it writes one itself and then says the same.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>' }}{%- endif %}"
    "{%- endif %}"
)

_WORD = re.compile(r"\w[\w'’-]*")
_FENCED = re.compile(r"<<(query|passage) (\w+)>>\n(.*?)\n<<end \2>>", re.DOTALL)
_PLACE = {"false_negative": 0, "positive": 1, "ambiguous": 2, "clean": 3}


@dataclass(frozen=True, slots=True)
class Lesson:
    """One request as the judge sends it (attempt 1), and the reply that the gold labels ask for."""

    request: Request
    reply: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The chat messages of the request."""
        messages: list[dict[str, str]] = self.request.payload["messages"]
        return messages

    def right(self, text: str, finish_reason: str = "stop") -> bool:
        """Whether a generated reply is read as what the gold reply says: same snippet, or none, or same ranking."""
        said, wanted = Response(text, finish_reason), Response(self.reply)
        if self.request.kind == "answer":
            return parse_answer(said) == parse_answer(wanted)
        count = int(self.request.payload["schema"]["minItems"])
        return parse_ranking(said, count) == parse_ranking(wanted, count)


def choose_rows(count: int | None, seed: int) -> list[dict[str, Any]]:
    """`count` rows of the sample dataset (`None`: all), in its order: a seeded choice from all subsets in turn."""
    lines = (SAMPLE / "hard-negatives" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    if count is None:
        return items
    chooser = random.Random(seed)
    by_subset: dict[str, list[int]] = {}
    for number in chooser.sample(range(len(items)), len(items)):
        by_subset.setdefault(items[number]["subset"], []).append(number)
    names = sorted(by_subset)
    deepest = max(map(len, by_subset.values()))
    turns = [by_subset[name][turn] for turn in range(deepest) for name in names if turn < len(by_subset[name])]
    return [items[number] for number in sorted(turns[:count])]


def make_lessons(rows: Sequence[dict[str, Any]]) -> tuple[list[Lesson], list[dict[str, str]]]:
    """The lessons of these rows, and what comes of each negative whose passages are all judged as the gold labels say.

    The project's own pipeline runs over an engine that knows the gold labels, so the requests are those of a real
    run, byte for byte, whatever becomes of prompts, windows and rules; so are the outcomes. Raises `AssertionError`
    where an outcome is not what its label means (a false negative may also be the near-duplicate of a new positive).
    """
    labels = _gold()
    known: dict[tuple[str, str], tuple[str, str]] = {}  # (query, text) → label and snippet
    for row in rows:
        for passage in row["positive_passages"]:
            known.setdefault((row["query"], passage["text"]), ("positive", snippet(row["query"], passage["text"])))
        for passage in row["negative_passages"]:
            label = labels[row["query_id"], passage["docid"]]
            known.setdefault((row["query"], passage["text"]), (label, snippet(row["query"], passage["text"])))
    lessons: list[Lesson] = []

    def reply(request: Request) -> Response:
        parts = _FENCED.findall(request.payload["messages"][1]["content"])
        (query,) = (body for kind, _, body in parts if kind == "query")
        shown = [
            known[query, body] if (query, body) in known else known[query, body.split("\n", 1)[1]]  # without its title
            for kind, _, body in parts
            if kind == "passage"
        ]
        if request.kind == "answer":
            text = json.dumps({"answer": None if shown[0][0] == "clean" else shown[0][1]}, ensure_ascii=False)
        else:
            text = json.dumps([i + 1 for i in sorted(range(len(shown)), key=lambda i: _PLACE[shown[i][0]])])
        lessons.append(Lesson(request, text))
        return Response(text)

    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "source", Path(folder) / "out"
        write_source(rows, source)
        config = RunConfig(source=str(source), output=str(output), rank_input="passage")
        result = run_refine(config, Monitor(), scripted_judge(ScriptedEngine(reply)))
        assert result.exit_code == 0, result.report
        expected = _outcomes(output, labels)
    lessons.sort(key=lambda lesson: (lesson.request.kind, canonical(lesson.request.payload)))
    return lessons, expected


def snippet(query: str, text: str) -> str:
    """Up to five words of the passage in a row that the query does not hold, verbatim: the first longest such run."""
    asked = {word.casefold() for word in _WORD.findall(query)}
    runs: list[list[re.Match[str]]] = [[]]
    for word in _WORD.finditer(text):
        joined = not runs[-1] or text[runs[-1][-1].end() : word.start()] == " "
        if word.group().casefold() in asked or not joined or len(runs[-1]) == SNIPPET_WORDS:
            runs.append([])
        if word.group().casefold() not in asked:
            runs[-1].append(word)
    best = max(runs, key=len)
    return text[best[0].start() : best[-1].end()] if best else text.split(". ")[0]


def write_source(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """The rows as a dataset folder of the sample's own schema."""
    folder.mkdir(parents=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(text, encoding="utf-8")


def make_tokenizer(lessons: Sequence[Lesson]) -> Any:
    """A byte-level BPE tokenizer trained on the lessons, with a chat template.

    Letters and digits are never split apart before merging, so a word is one token, and so is the hash in a passage's
    marker lines: sequences are short, and a passage is known by a single token. Any other text works too, byte by
    byte if need be.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r" ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, min_frequency=1, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[END_OF_TEXT, TURN, END_OF_TURN, THINK, END_OF_THOUGHT],
    )  # fmt: skip
    texts = [text for lesson in lessons for text in (*(one["content"] for one in lesson.messages), lesson.reply)]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TURN, pad_token=END_OF_TEXT, chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False, model_max_length=32_768,
    )  # fmt: skip


def make_config(tokenizer: Any, *, hidden: int, inner: int, layers: int) -> Any:
    """A Qwen3 configuration with heads of 64, which every attention backend has."""
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=math.ceil(len(tokenizer) / 64) * 64, hidden_size=hidden, intermediate_size=inner,
        num_hidden_layers=layers, num_attention_heads=hidden // 64, num_key_value_heads=hidden // 128, head_dim=64,
        max_position_embeddings=32_768, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model folder as published ones are: bfloat16 weights, and sampling that is recommended but not greedy."""
    import torch
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_p=0.95, top_k=20, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def prompt_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """The prompt as the judge's engines send it: thinking off."""
    ids: list[int] = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, enable_thinking=False, tokenize=True, return_dict=False
    )
    return ids


def build(
    folder: Path, rows: int = 12, seed: int = 1, minutes: float = 5.0, say: Callable[[str], None] = lambda line: None
) -> Path:
    """Train the model on `rows` rows for at most `minutes` and write it to `folder`, which must not exist.

    Returns `folder`.

    `expected.json` there holds `right` (share of replies right under greedy decoding of the saved weights),
    `seconds`, `steps`, `prompt_tokens` and `decisions`: per negative `query_id`, `docid`, `gold` and `outcome`
    (relabel, filter, keep or duplicate). Raises `RuntimeError` if the replies are not learnt in that time. `say` is
    told how it goes on.
    """
    chosen = choose_rows(rows, seed)
    return _build(Path(folder), chosen, *make_lessons(chosen), seed=seed, minutes=minutes, say=say)


def cached(rows: int = 12, seed: int = 1, minutes: float = 5.0, say: Callable[[str], None] = lambda line: None) -> Path:
    """The folder of such a model: an earlier one if prompts, replies and this file are unchanged, else a new one."""
    from filelock import FileLock

    chosen = choose_rows(rows, seed)
    lessons, expected = make_lessons(chosen)
    made_from = [[lesson.request.payload, lesson.reply] for lesson in lessons]
    script = Path(__file__).read_text(encoding="utf-8")
    key = hashlib.sha256(canonical([script, made_from, expected, seed])).hexdigest()[:16]
    place = os.environ.get("ARHN_TINY_MODEL")
    base = Path(place) if place else Path.home() / ".cache" / "arhn-hf-tests" / "tiny-model"
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(base / f"{key}.lock"):
        if not (base / key / "expected.json").is_file():
            shutil.rmtree(base / key, ignore_errors=True)
            _build(base / key, chosen, lessons, expected, seed=seed, minutes=minutes, say=say)
    return base / key


def generate(model: Any, tokenizer: Any, lessons: Sequence[Lesson], batch: int = 16) -> list[str]:
    """Greedy replies by transformers, without any grammar."""
    import torch

    prompts = [prompt_ids(tokenizer, lesson.messages) for lesson in lessons]
    longest = max(len(tokenizer(lesson.reply).input_ids) for lesson in lessons) + 8
    replies = [""] * len(lessons)
    order = sorted(range(len(lessons)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        width = max(len(prompts[i]) for i in group)
        ids = torch.full((len(group), width), tokenizer.pad_token_id)
        mask = torch.zeros((len(group), width), dtype=torch.long)
        for line, i in enumerate(group):
            ids[line, width - len(prompts[i]) :] = torch.tensor(prompts[i])
            mask[line, width - len(prompts[i]) :] = 1
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=longest, do_sample=False, temperature=None,
                top_p=None, top_k=None,
            )  # fmt: skip
        for line, i in enumerate(group):
            replies[i] = tokenizer.decode(out[line, width:], skip_special_tokens=True)
    return replies


def _build(
    folder: Path,
    chosen: Sequence[dict[str, Any]],
    lessons: Sequence[Lesson],
    expected: Sequence[dict[str, str]],
    *,
    seed: int,
    minutes: float,
    say: Callable[[str], None],
) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

    started = time.monotonic()
    tokenizer = make_tokenizer(lessons)
    with seeded(seed):
        model = Qwen3ForCausalLM(make_config(tokenizer, hidden=256, inner=512, layers=2))
        steps = _train(model, tokenizer, lessons, seed, started + 60 * minutes, say)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        save(model, tokenizer, unfinished)
        loaded = AutoModelForCausalLM.from_pretrained(unfinished, dtype=torch.bfloat16)
        again = AutoTokenizer.from_pretrained(unfinished)
        replies = generate(loaded, again, lessons)
        right = sum(lesson.right(text) for lesson, text in zip(lessons, replies, strict=True)) / len(lessons)
        seconds = round(time.monotonic() - started, 1)
        say(f"{right:.1%} of {len(lessons)} replies right after {steps} steps, {seconds} s")
        if right < ENOUGH:
            raise RuntimeError(f"only {right:.1%} of the replies are right after {seconds} s of at most {minutes} min")
        lengths = {
            kind: [len(prompt_ids(again, lesson.messages)) for lesson in lessons if lesson.request.kind == kind]
            for kind in ("answer", "rank")
        }
        record = {
            "right": right, "replies": len(lessons), "seconds": seconds, "steps": steps,
            "parameters": loaded.num_parameters(), "vocabulary": len(again),
            "prompt_tokens": {
                kind: {"requests": len(many), "mean": round(sum(many) / len(many), 1), "most": max(many)}
                for kind, many in lengths.items()
            },
            "decisions": list(expected),
        }  # fmt: skip
        write_source(chosen, unfinished / "source")
        (unfinished / "expected.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _train(
    model: Any, tokenizer: Any, lessons: Sequence[Lesson], seed: int, deadline: float, say: Callable[[str], None]
) -> int:
    """Teacher forcing on the replies, the empty thought before them included, until every token of them is certain.

    Returns the number of steps. Most of the work is in prompt tokens that decide nothing, so the model first sees
    only some of each prompt (see `_thinned`, another choice every epoch), then the whole. One thread: two that wait
    for each other at every small operation are ten times slower as soon as anything else runs on their cores.
    """
    import torch
    from torch.nn.functional import cross_entropy

    thought = tokenizer(NO_THOUGHT, add_special_tokens=False).input_ids
    examples = []
    for lesson in lessons:
        prompt = prompt_ids(tokenizer, lesson.messages)
        assert prompt[-len(thought) :] == thought
        reply = [*tokenizer(lesson.reply, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        examples.append((prompt + reply, len(prompt) - len(thought)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    chooser = random.Random(seed)
    begun, step, whole = time.monotonic(), 0, False
    model.train()
    for epoch in range(EPOCHS):
        kept = [range(len(ids)) if whole else _thinned(len(ids), start, chooser) for ids, start in examples]
        batches = _batches(kept)
        chooser.shuffle(batches)
        least, losses = 1.0, 0.0
        for done, batch in enumerate(batches):
            now = time.monotonic()
            if now >= deadline:
                return step
            # By epochs, so that a build can be repeated; by the clock only where the machine is too slow for that.
            share = max((epoch + done / len(batches)) / EPOCHS, (now - begun) / (deadline - begun))
            warm = min(1.0, (step + 1) / 20)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * warm * (0.55 + 0.45 * math.cos(math.pi * share))
            width = max(len(kept[i]) for i in batch)
            ids = torch.full((len(batch), width), tokenizer.pad_token_id)
            positions = torch.zeros((len(batch), width), dtype=torch.long)
            wanted = torch.zeros((len(batch), width), dtype=torch.bool)
            for line, i in enumerate(batch):
                tokens, start = examples[i]
                ids[line, : len(kept[i])] = torch.tensor([tokens[k] for k in kept[i]])
                positions[line, : len(kept[i])] = torch.tensor(list(kept[i]))
                wanted[line, len(kept[i]) - (len(tokens) - start) : len(kept[i])] = True
            before = wanted.roll(-1, dims=1)
            hidden = model.model(
                input_ids=ids, position_ids=positions, attention_mask=_causal(torch, width), use_cache=False
            ).last_hidden_state
            logits = model.lm_head(hidden[before])
            loss = cross_entropy(logits, ids[wanted])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            sure = logits.detach().softmax(-1).gather(1, ids[wanted][:, None])
            least, losses = min(least, float(sure.min())), losses + loss.item()
        say(
            f"epoch {epoch + 1} ({'whole' if whole else 'thinned'} prompts): loss {losses / len(batches):.4f}, "
            f"least certain token {least:.3f}, {time.monotonic() - begun:.0f} s"
        )
        if whole and least > CERTAIN:
            break
        whole = whole or least > CERTAIN or epoch + 1 >= EPOCHS - WHOLE_EPOCHS
    return step


def _causal(torch: Any, width: int) -> Any:
    """The plain causal mask. Given, because positions that leap might be taken for several texts packed in one line."""
    return torch.ones(width, width, dtype=torch.bool).tril()[None, None]


def _thinned(length: int, start: int, chooser: random.Random) -> list[int]:
    """Which tokens of a prompt and its reply (from `start` on) are seen: both ends of the prompt and some between.

    They keep their positions, so what is learnt holds for the whole prompt. Its beginning tells the stages apart, its
    end holds the hash of the last passage shown.
    """
    between = range(HEAD, start - TAIL)
    return [*range(HEAD), *sorted(chooser.sample(between, min(BETWEEN, len(between)))), *range(start - TAIL, length)]


def _batches(kept: Sequence[Sequence[int]]) -> list[list[int]]:
    """Numbers of examples of like length, as many as fit into a batch when padded."""
    batches: list[list[int]] = [[]]
    for i in sorted(range(len(kept)), key=lambda i: len(kept[i])):
        if batches[-1] and len(kept[i]) * (len(batches[-1]) + 1) > PADDED_TOKENS:
            batches.append([])
        batches[-1].append(i)
    return batches


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeded and on one thread inside, as it was afterwards: the rest of a test session does not notice."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _gold() -> dict[tuple[str, str], str]:
    lines = (SAMPLE / "hard-negatives.gold.jsonl").read_text(encoding="utf-8").splitlines()
    return {(item["query_id"], item["docid"]): item["gold"] for item in map(json.loads, lines)}


def _outcomes(output: Path, labels: dict[tuple[str, str], str]) -> list[dict[str, str]]:
    import pyarrow.parquet as pq

    meant = {
        "false_negative": ("relabel", "duplicate"), "ambiguous": ("filter",), "clean": ("keep",),
        "duplicate": ("duplicate",),
    }  # fmt: skip
    found = []
    for file in sorted((output / "evidence").rglob("*.parquet")):
        for item in pq.read_table(file).to_pylist():
            if item["label"] == "negative":
                gold = labels[item["query_id"], item["docid"]]
                assert item["action"] in meant[gold], (item["docid"], gold, item["action"], item["reason"])
                found.append(
                    {"query_id": item["query_id"], "docid": item["docid"], "gold": gold, "outcome": item["action"]}
                )
    return found


def main() -> None:
    """Build into the folder given, or into the cache."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    print(build(Path(sys.argv[1]), say=say) if len(sys.argv) > 1 else cached(say=say))


if __name__ == "__main__":
    main()
