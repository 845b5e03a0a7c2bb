"""A model's own chat template, applied the same way for counting and for asking."""

from __future__ import annotations

import hashlib
from typing import Any

from arhn_hf.records import UsageError

_PROBE = [{"role": "system", "content": "arhn-system-probe"}, {"role": "user", "content": "arhn-user-probe"}]


class ChatTemplate:
    """Renders chat messages to token ids with the tokenizer's template.

    `digest` is a hash of the template: it changes answers, so it is part of every request's key. A template without a system role
    gets the instructions in front of the first user message. Raises `UsageError` for a tokenizer without a template.
    """

    def __init__(self, tokenizer: Any, model: str, *, thinking: bool) -> None:
        source = getattr(tokenizer, "chat_template", None)
        if not source:
            raise UsageError(
                "the tokenizer has no chat template", where=model, hint="Choose an instruction-tuned model"
            )
        self._tokenizer, self._thinking = tokenizer, thinking
        self.digest = hashlib.sha256(str(source).encode()).hexdigest()[:16]
        self._has_system = self._accepts_system()

    def tokens(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of the whole prompt, the generation prompt included."""
        ids = self._tokenizer.apply_chat_template(
            self._shown(messages),
            tokenize=True,
            add_generation_prompt=True,
            enable_thinking=self._thinking,
            return_dict=False,
        )
        return list(ids)

    def _shown(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        if self._has_system or messages[0]["role"] != "system":
            return messages
        first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        return [first, *messages[2:]]

    def _accepts_system(self) -> bool:
        """Some templates raise on a system message, some drop it in silence: both count as having none."""
        import jinja2

        try:
            text = self._tokenizer.apply_chat_template(_PROBE, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError:
            return False
        return "arhn-system-probe" in text


def surely_fits(payload: dict[str, Any], context_tokens: int) -> bool:
    """Whether a chat request fits without counting: a token has at least one code point, and a turn costs a few more."""
    length = sum(len(one["content"]) + 16 for one in payload["messages"])
    return length + int(payload["max_tokens"]) <= context_tokens
