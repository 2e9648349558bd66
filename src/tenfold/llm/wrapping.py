"""What all wrappers share: they are chat models themselves, and are known by the model inside."""

from abc import ABC, abstractmethod

from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest


class Wrapper(ABC):
    """A `ChatModel` around another: same name, same weights, same abilities; only `chat` is its own."""

    def __init__(self, model: ChatModel) -> None:
        self.model = model

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def takes_images(self) -> bool:
        return self.model.takes_images

    @abstractmethod
    async def chat(self, request: ChatRequest) -> ChatReply: ...
