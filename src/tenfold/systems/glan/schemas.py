"""JSON schemas of the one-turn requests, bounded so that the longest legal reply fits a token limit.

Under a grammar a small model may repeat itself within a string for ever; limits on strings and lists end that.
"""

from typing import Any


def subjects_schema(most: int) -> dict[str, Any]:
    """{"subjects": [{"subject_name", "level", "subtopics"}, ...]}"""
    levels = ["beginner", "intermediate", "advanced"]
    subject = _object(subject_name=_text(60), level={"type": "string", "enum": levels}, subtopics=_list(_text(40), 2, 4))
    return _object(subjects=_list(subject, 1, most))


def sessions_schema(most: int) -> dict[str, Any]:
    """{"sessions": [{"session", "key_concepts"}, ...]}"""
    session = _object(session=_text(60), key_concepts=_list(_text(40), 3, 5))
    return _object(sessions=_list(session, min(2, most), most))


def _text(longest: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 3, "maxLength": longest}


def _list(items: dict[str, Any], least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
