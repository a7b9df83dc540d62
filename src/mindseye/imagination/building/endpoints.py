"""Asking any endpoint that speaks the OpenAI chat protocol."""

from __future__ import annotations

import os
from typing import Any

from mindseye.errors import MindseyeError, ModelError, first_line
from mindseye.imagination.building.asking import Reply, Request, Unanswered
from mindseye.imagination.building.pictures import data_uri

__all__ = ["Endpoint"]

_NO_KEY = "none"
"""Servers of one's own take any key, but the client insists on one."""


class Endpoint:
    """A model behind an OpenAI-compatible endpoint, such as a vLLM server.

    Timeouts, lost connections and the statuses 408, 409, 429 and 5xx are tried again by the
    `openai` client, which waits half a second, then twice as long each time up to eight, with
    jitter, or as long as the server's `Retry-After` says.

    Args:
        model: What the server calls it.
        base_url: Where the server is; what `OPENAI_BASE_URL` says, or OpenAI, if left out.
        key_variable: The environment variable that holds the API key. The key is written nowhere.
        timeout: Seconds to wait for a reply.
        max_retries: How often to try again.
        options: Passed with every request, such as `extra_body`; greedy decoding if left out.

    Raises:
        MindseyeError: The `openai` package is not installed, or OpenAI itself is asked without key.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        key_variable: str = "OPENAI_API_KEY",
        timeout: float = 120.0,
        max_retries: int = 6,
        options: dict[str, Any] | None = None,
    ) -> None:
        try:
            import openai
        except ImportError as fault:
            raise MindseyeError(
                "An endpoint needs the package openai, which is not installed. Run: "
                "pip install 'mindseye[train]'"
            ) from fault
        key = os.environ.get(key_variable)
        address = base_url or os.environ.get("OPENAI_BASE_URL")
        if not key and not address:
            raise MindseyeError(
                f"The environment variable {key_variable} is not set, and no base_url names a "
                "server. Set the one or pass the other."
            )
        self._client = openai.OpenAI(
            api_key=key or _NO_KEY, base_url=address, timeout=timeout, max_retries=max_retries
        )
        self._model = model
        self._max_retries = max_retries
        self._options = {"temperature": 0.0} if options is None else options

    @property
    def name(self) -> str:
        """The model and its options; the server may move while a build is at rest."""
        told = ", ".join(f"{key}={value}" for key, value in sorted(self._options.items()))
        return f"{self._model} ({told})"

    def ask(self, request: Request) -> Reply:
        """Send a request, again if need be.

        Raises:
            SampleError: A picture cannot be read.
            Unanswered: No reply came, or the server refused the request.
            ModelError: The server does not know the model or the key.
        """
        import openai

        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": data_uri(image)}} for image in request.images
        ]
        messages = [{"role": "user", "content": [*parts, {"type": "text", "text": request.text}]}]
        create: Any = self._client.chat.completions.with_raw_response.create
        try:
            raw = create(
                model=self._model,
                messages=messages,
                max_tokens=request.max_new_tokens,
                **self._options,
            )
            return _reply(raw.parse(), raw.retries_taken + 1)
        except (
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.NotFoundError,
        ) as fault:
            raise ModelError(
                f"The endpoint {self._client.base_url} does not serve {self._model!r} to us "
                f"({first_line(fault)}). Check the model's name, the address and the API key."
            ) from fault
        except openai.OpenAIError as fault:
            raise Unanswered(_reason(fault), self._tries(fault), first_line(fault)) from fault
        except (AttributeError, IndexError, TypeError, ValueError) as fault:
            raise Unanswered("no chat completion in the response") from fault

    def _tries(self, fault: Exception) -> int:
        import openai

        status = getattr(fault, "status_code", None)
        again = status in (408, 409, 429) or (status is not None and status >= 500)
        lost = isinstance(fault, openai.APIConnectionError)  # a timeout is one of these
        return self._max_retries + 1 if again or lost else 1


def _reason(fault: Exception) -> str:
    import openai

    if isinstance(fault, openai.APITimeoutError):
        return "timeout"
    if isinstance(fault, openai.APIConnectionError):
        return "no connection"
    status = getattr(fault, "status_code", None)
    return f"status {status}" if status is not None else type(fault).__name__


def _reply(completion: Any, tries: int) -> Reply:
    choice, usage = completion.choices[0], completion.usage
    refused = choice.finish_reason == "content_filter" or bool(
        getattr(choice.message, "refusal", None)
    )
    return Reply(
        text=str(choice.message.content or ""),
        finish="refusal" if refused else "length" if choice.finish_reason == "length" else "stop",
        tokens_in=int(usage.prompt_tokens or 0) if usage else 0,
        tokens_out=int(usage.completion_tokens or 0) if usage else 0,
        tries=tries,
    )
