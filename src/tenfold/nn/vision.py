"""Models that see, as chat models: Transformers' image-text-to-text classes with their processor.

`takes_images` tells from the config alone whether a model is one; `open_model` opens it as what it is, so that a text model
is never loaded as a vision model. Pictures come as bytes. Candidates are scored by one pass where each is one token, else
by one pass per candidate.
"""

# S tokens of the prompt, T of a candidate, V vocabulary
import asyncio
import hashlib
import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image as Pillow
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tenfold.core.errors import MissingArtifactError
from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, Image, ProviderError, Usage
from tenfold.nn import chat, models
from tenfold.nn.models import TORCH_DTYPES, Dtype
from tenfold.store.artifacts import sha256


def takes_images(name: str) -> bool:
    """Whether the model's config is that of an image-text-to-text model; weights are not read.

    Raises:
        MissingArtifactError: there is no such model here.
    """
    path = models.resolve(name)
    try:
        with models.quiet():
            config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise _missing(name, error) from None
    return config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def open_model(name: str, *, dtype: Dtype = "auto") -> ChatModel:
    """A local model by name: one that sees if its config says so, else a text model on our own decoding."""
    return open_vision(name, dtype=dtype) if takes_images(name) else chat.open_local(name, dtype=dtype)


def open_vision(name: str, *, dtype: Dtype = "auto") -> "VisionChat":
    """A vision model from a folder or by its hub id.

    Raises:
        MissingArtifactError: there is no such model here, or its processor is missing.
    """
    path = models.resolve(name)
    try:
        with models.quiet():
            processor = AutoProcessor.from_pretrained(path)
            model = AutoModelForImageTextToText.from_pretrained(path, dtype=TORCH_DTYPES[dtype]).eval()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _missing(name, error) from None
    model.to("cuda" if torch.cuda.is_available() else "cpu")  # pyright: ignore[reportArgumentType]
    return VisionChat(name, model, processor, path=path)


def _missing(name: str, error: Exception) -> MissingArtifactError:
    cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    accepted = "give a folder with config, weights and processor, or a hub id you can reach"
    return MissingArtifactError(f"cannot load model {name!r} ({cause[:160]}); {accepted}")


class VisionChat:
    """A `ChatModel` that sees. One call at a time; others wait."""

    takes_images = True

    def __init__(self, name: str, model: PreTrainedModel, processor: ProcessorMixin, *, path: str = "") -> None:
        self.name = name
        self.model = model
        self.processor: Any = processor
        self.tokenizer: Any = processor.tokenizer  # pyright: ignore[reportAttributeAccessIssue]
        self.path = path
        self._turn = asyncio.Lock()

    @property
    def fingerprint(self) -> str:
        """Checksum of the weight files of a folder; for the hub the id and the commit."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        files = sorted(Path(self.path).glob("*.safetensors")) if self.path and Path(self.path).is_dir() else []
        if files:
            return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()
        return f"{self.name}@{getattr(self.model.config, '_commit_hash', None) or 'unsaved'}"

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Answers one request.

        Raises:
            ProviderError: a picture cannot be decoded, or a JSON schema is asked for.
        """
        if request.json_schema is not None:
            raise ProviderError("unsupported", f"{self.name} decodes without a grammar; ask without a JSON schema")
        async with self._turn:
            return await asyncio.to_thread(self._answer, request)

    @torch.inference_mode()
    def _answer(self, request: ChatRequest) -> ChatReply:
        inputs = self._inputs(request)
        return self._scored(request, inputs) if request.candidates else self._written(request, inputs)

    def _inputs(self, request: ChatRequest) -> dict[str, Any]:
        """Token ids, attention mask and whatever the processor makes of the pictures."""
        text = self._prompt(request)
        pictures = [_decoded(image) for image in request.images]
        begins = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        batch = self.processor(text=[text], images=pictures or None, return_tensors="pt", add_special_tokens=not begins)
        return {key: value.to(self.model.device) if isinstance(value, Tensor) else value for key, value in batch.items()}

    def _prompt(self, request: ChatRequest) -> str:
        """The conversation as the model's template writes it; a request without messages is bare text."""
        if not request.messages:
            return request.answer_prefix
        if not self.processor.chat_template:
            token = self.processor.image_token
            lines = ["".join(part if isinstance(part, str) else f"{token}\n" for part in m.parts) for m in request.messages]
            return "\n\n".join(lines) + "\n" + request.answer_prefix
        turns = [
            {"role": message.role, "content": [_content(part) for part in message.parts]} for message in request.messages
        ]
        begun = self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return str(begun) + request.answer_prefix

    def _written(self, request: ChatRequest, inputs: dict[str, Any]) -> ChatReply:
        sampling = {"temperature": request.temperature, "top_p": request.top_p} if request.temperature else {}
        stops = {"stop_strings": list(request.stop), "tokenizer": self.tokenizer} if request.stop else {}
        num_prompt = inputs["input_ids"].shape[1]
        with torch.random.fork_rng(), models.quiet():
            torch.manual_seed(request.seed or 0)
            ids = self.model.generate(  # pyright: ignore[reportCallIssue]
                **inputs, max_new_tokens=request.max_tokens, do_sample=bool(sampling), **sampling, **stops
            )
        new = ids[0, num_prompt:].tolist()
        text = str(self.tokenizer.decode(new, skip_special_tokens=True))
        ended = len(new) < request.max_tokens or new[-1] in self._eos_ids or text.endswith(tuple(request.stop) or ("\0",))
        usage = Usage(num_prompt, len(new))
        return ChatReply(_before(text, request.stop), "stop" if ended else "length", usage)

    @cached_property
    def _eos_ids(self) -> frozenset[int]:
        settings: Any = self.model.generation_config
        eos = settings.eos_token_id if settings is not None else None
        return frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos])

    def _scored(self, request: ChatRequest, inputs: dict[str, Any]) -> ChatReply:
        tokens = [self._continuation(request.answer_prefix, candidate) for candidate in request.candidates]
        if all(len(ids) == 1 for ids in tokens):
            last_V = self._logits(inputs)[-1].log_softmax(-1)
            logprobs = [float(last_V[ids[0]]) for ids in tokens]
        else:
            logprobs = [self._sum(inputs, ids) for ids in tokens]
        usage = Usage(inputs["input_ids"].shape[1], 0)
        return ChatReply("", "stop", usage, candidate_logprobs=tuple(logprobs), candidate_tokens=tuple(map(len, tokens)))

    def _continuation(self, prefix: str, candidate: str) -> list[int]:
        """The candidate's tokens as they follow the prefix; split apart from it where the two share a token."""
        before = self.tokenizer(prefix, add_special_tokens=False)["input_ids"]
        both = self.tokenizer(prefix + candidate, add_special_tokens=False)["input_ids"]
        joined = both[: len(before)] == before and len(both) > len(before)
        return both[len(before) :] if joined else self.tokenizer(candidate, add_special_tokens=False)["input_ids"]

    def _sum(self, inputs: dict[str, Any], ids: Sequence[int]) -> float:
        """Log-probability of the tokens after the prompt, in one pass over both."""
        ids_1T = torch.tensor([list(ids)], device=self.model.device)
        num_prompt = inputs["input_ids"].shape[1]
        longer = inputs | {
            key: _extended(inputs[key], ids_1T, key) for key in inputs if _runs_along(inputs[key], num_prompt)
        }
        law_TV = self._logits(longer)[num_prompt - 1 : -1].log_softmax(-1)
        return float(law_TV.gather(-1, ids_1T.T).sum())

    def _logits(self, inputs: dict[str, Any]) -> Tensor:
        """[S, V] float32."""
        return self.model(**inputs).logits[0].float()


def _content(part: str | Image) -> dict[str, str]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}


def _runs_along(value: Any, num_prompt: int) -> bool:
    """Whether a value has one entry per token of the prompt."""
    return isinstance(value, Tensor) and value.shape == (1, num_prompt)


def _extended(value_1S: Tensor, ids_1T: Tensor, key: str) -> Tensor:
    """A per-token value with entries for further text tokens: ids as they are, attention on, any other kind 0."""
    more = ids_1T if key == "input_ids" else torch.full_like(ids_1T, int(key == "attention_mask"))
    return torch.cat([value_1S, more.to(value_1S.dtype)], dim=1)


def _decoded(image: Image) -> Pillow.Image:
    try:
        with Pillow.open(io.BytesIO(image.data)) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, Pillow.DecompressionBombError) as error:
        raise ProviderError("rejected", f"a picture cannot be decoded: {error}") from None


def _before(text: str, stops: Sequence[str]) -> str:
    """The text up to the first stop string."""
    ends = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
