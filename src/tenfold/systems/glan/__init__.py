"""Generalized Instruction Tuning (GLAN, arXiv 2402.13064): instruction data from a taxonomy of human knowledge alone.

Claim: a taxonomy of disciplines, grown into subjects, syllabi, sessions and key concepts by a teacher model, covers what a
few seed examples cannot; no task-specific training data is needed.

    ours          the paper's
    discipline    a leaf of the taxonomy of human knowledge and capabilities
    subject       a subject of a discipline, with a level and subtopics
    syllabus      class sessions and the key concepts of each
    draw          one or two sessions and one to five key concepts, about which a question is asked
    instruction   a homework question; `answer` is what a second call says to it
"""
