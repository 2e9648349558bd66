"""Documents as a model reads them: not more of them than it can read, with every offset as it was."""

from collections.abc import Sequence

from tenfold.systems.slotsum.documents import Document, clip

MOST_WORDS = 400
"""Words of the documents that a model reads."""


def shortened(documents: Sequence[Document], title: str, most_words: int = MOST_WORDS) -> list[Document]:
    """Documents as a model reads them: whole if they are short, else the sentences most about the title, blanked elsewhere.

    What is left keeps its offsets: pointers into the shortened documents are pointers into the originals.
    """
    if sum(len(document.text.split()) for document in documents) <= most_words:
        return list(documents)
    room, kept = most_words, {document.id: [False] * len(document.text) for document in documents}
    for sentence in clip(documents, title):
        room -= len(sentence.text.split())
        if room < 0:
            break
        kept[sentence.doc_id][sentence.start : sentence.end] = [True] * (sentence.end - sentence.start)
    blanked = [
        Document(one.id, "".join(letter if keep else " " for letter, keep in zip(one.text, kept[one.id], strict=True)))
        for one in documents
    ]
    return [document for document in blanked if document.text.strip()] or list(documents[:1])
