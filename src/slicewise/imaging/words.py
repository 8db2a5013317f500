"""The words by which scanners and people tell what a series is: the tables that `rules` and `parts` read.

Patterns match `folded` texts. Those of Image Type must match one of its values as a whole.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

Pattern = re.Pattern[str]

_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "_": " "})


@lru_cache(maxsize=1024)
def folded(text: str) -> str:
    """Returns a text in lower case, without accents and underscores.

    >>> folded("Schädel_5 CRÂNE")
    'schaedel 5 crane'
    """
    spelled = unicodedata.normalize("NFC", text).lower().translate(_UMLAUTS)
    return "".join(letter for letter in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(letter))


@lru_cache(maxsize=1024)
def states_type(image_type: tuple[str, ...], pattern: Pattern) -> bool:
    """Tells whether a value of Image Type, (0008,0008), is one of a table."""
    return any(pattern.fullmatch(folded(value)) for value in image_type)


def _any_of(*patterns: str) -> Pattern:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


def _word(*patterns: str) -> str:
    return rf"\b(?:{'|'.join(patterns)})\b"


# Image Type

LOCALIZER_TYPE = _any_of("localizer", "scout", "topogram", "surview")
CAPTURE_TYPE = _any_of(
    r"screen ?save",
    r"dose[ _]?(info|report)",
    r"protocol",
    r"ct som\w+ prot",  # Siemens: the patient protocol, stored as a CT image
)
RENDERING_TYPE = _any_of(
    r"projection image",
    r"(csa |thin |thick )?(mip|max ?ip|min ?ip|vrt?|ssd|volren|volume rendering)( .*)?",
    r"maximum|minimum",  # enhanced images: Derived Pixel Contrast, PS3.3 C.8.16.1.4
)
REFORMATTED_TYPE = _any_of(
    r"(csa )?mpr( .*)?",
    r"reformatted",
    r"resampled",  # enhanced images, as above
)

# Series Description

LOCALIZER = _any_of(
    _word(
        "scouts?", r"topo(gram\w*)?", r"surview\w*", r"locali[sz]er\w*", "loc", r"scano\w*", "pilot", r"uebersicht\w*"
    ),
    "定位|位置決",
)
CAPTURE = _any_of(
    _word(
        r"dose ?(report|info\w*|record|summary|sheet)", r"(patient|exam) ?(protocol|summary)", r"screen ?(save|shot)s?"
    ),
    _word("secondary captures?", "captures?", "key images?"),
)
RENDERING = _any_of(
    _word(
        "mips?",
        "min ?ips?",
        "vrt?",
        "ssd",
        "volume render\\w*",
        "shaded surface",
        r"surface (shaded|render\w*)",
        "3d (vrt?|render\\w*|skull|bone)",
    ),
    _word("cine ?rendering", "bone (removal|removed|subtraction)"),
)
MAP = _any_of(_word("cbf", "cbv", "mtt", "ttp", "ttd", "t ?max", "perfusion maps?", "iodine (map|overlay)s?", "e?adc"))

OTHER_PART = _any_of(
    _word(
        r"chest\w*", r"thora[xc]\w*", r"torax\w*", r"torace\w*", "lungs?", r"pulmon\w*", "poumons?", "brust", "ribs?"
    ),
    _word("heart", "coeur", "cardiac", r"coronar(y|ies)", "herz", r"aort\w+"),
    _word(r"abd(o(m\w*)?)?", r"addom\w*", "liver", "pancreas", "kidneys?", "renal", "spleen", "bauch", "kub", "tap"),
    _word(r"pelv\w+", "becken", "bassin", "bacino", "hips?", r"sacr\w+", "prostate", "bladder"),
    _word("neck", "hals", "cou", "collo", "cuello", "pescoco", "larynx", "thyroid", r"carotids?"),
    _word(
        r"([ctls]|cervical|thoracic|lumbar)?[ -]?spine\w*", "spinal", r"lumb\w+", r"cervic\w+", r"vertebr\w+", "rachis"
    ),
    _word(r"colonn[ae]", r"colum?na", r"[hbl]ws", r"wirbels\w*"),
    _word(
        "knees?", "shoulders?", r"(foot|feet)(?! first)", "ankles?", "wrists?", "hands?", "elbows?", "arms?", "legs?"
    ),
    _word("femur", "tibia", "humerus", r"extremit\w+", "knie", "schulter", "run ?off"),
    _word(
        "face",
        "facial",
        r"sinus\w*",
        "pns",
        "nnh",
        r"orbit(?!o\W?meat)\w*",
        r"maxill\w+",
        r"mandib\w+",
        "jaw",
        "dental",
        "tmj",
    ),
    _word("nose", "nasal", "visage", r"seios", r"senos", "kiefer"),
    _word(
        "ears?", "iacs?", "petrous", r"mastoid\w*", r"temporal bones?", r"felsenbein\w*", r"rocher\w*", r"cochlea\w*"
    ),
    _word("whole ?body", r"polytrauma\w*", r"ganzkoerper\w*"),
    _word("head", "brain", "skull"),  # for tasks that read something else
)
"""Parts of the body, English as Body Part Examined has them and what else is usual in descriptions.

A part that is not here is not refused: hospitals write it in any language.
"""

# Contrast medium

CONTRAST = _any_of(
    r"(?<!non)[ck]ontrast",
    r"c ?\+",
    r"\+ ?(c|km|iv|contr\w*)\b",
    # not the posterior fossa, and not what came after an event
    r"\bpost\b(?![ -]*(fossa|op\b|oper|proc|trau|surg|treat|tx\b|therap|recon|mort|injury|evac|shunt|clip|coil|cranio"
    r"|thromb|lysis|tpa|stroke|fall|arrest|seiz|ictal|partum|evd|drain|biops|icu))",
    r"post ?(con|inj|iv|gad)",
    _word("ce", "cect", "cta", "ctv", "cow", "willis", "km", "iv", "mdc", r"with\W{0,3}$", r"w(ith)?\W{0,2}cont?r?"),
    r"angio",
    r"(?<!un)(?<!edge )(?<!edge-)(?<!non)enhanced",
    _word("venous", r"arteri[ae]l\w*", "portal", "veineux", r"delay(ed)?", r"injec\w+", r"inyec\w+"),
    _word("perfusion", "ctp", "vpct", "bolus", "smart ?prep", r"monitoring", "test ?bolus", "dynamic", "4d"),
    r"\b\d+ ?(cc|ml)\b",  # what the injector gave, as in CQ500's "4cc/sec 150cc"
    "增强|造影",
)
_MEDIUM = r"(?:[ck]ontrast\w*|con(tr?)?\b|enhanc\w*|ce\b|c ?\+|km\b|iv\b|injec\w*|inyec\w*|mdc\b|dye\b|gad\w*)"
NO_CONTRAST = _any_of(
    r"\b(?:non|no|not|without|w ?/ ?o|wo|pre|sans|ohne|sin|sem|senza|zonder|bez|utan|uten)\b"
    rf"(?:\W{{0,3}}\b(?:i\W?v|any|oral|and|et|und|or|with|w|the|de|medio|mezzo|di|meio|produit)\b)*\W{{0,3}}{_MEDIUM}",
    r"\bpre[ck]ontrast\w*",
    rf"\bpre\W{{0,3}}(?:and|et|und|y|e)?\W{{0,3}}post\b(?:\W{{0,3}}{_MEDIUM})?",  # said of both: says nothing
    "非增强|非造影|造影なし",
)
"""Taken out of a description before `CONTRAST` is looked for."""

NO_AGENT = _any_of(
    r"\W*",
    r"\W*(?:no|none|non(?!\W?ion)|nil|not|0|n|n\W?a|false|unknown|without|w\W?o|un-?enhanced|plain|nativ\w*|ohne|sans"
    r"|sin|sem|senza|keine?)\b.*",
    r"\W*oral\W*",
)
"""Contrast/Bolus Agent, (0018,0010), as a whole, where nothing was given into a vein."""

# Reconstruction kernels

SHARP_DESCRIPTION = _any_of(
    r"(?<!no )(?<!non )(?<!w/o )(?<!without )\bbon[ey](?! ?(remov|subtr|less|free))",
    _word(r"oss[eo]\w*", "ossa", r"ose[oa]", r"hueso\w*", "osteo", "knochen", r"kos(ci?|ti|tn[ei])", "kemik", "csont"),
    r"(?<!com )(?<!sem )(?<!para )(?<!todos )(?<!con )\bos\b",  # French for bone; Portuguese for "the"
    _word("(?<!brain )sharp", "edge", "lung"),
    _word(r"[bhijqtu][5-9]\d[fshu]", r"(?!hu)[bhqu][a-z][5-9]\d[fshu]?", r"fc[358]\d"),  # a kernel, see below
    "骨",
)
SHARP_KERNEL = _any_of(
    r"bone|lung|\bedge|\bsharp|\bultra",  # GE: BONE, BONEPLUS, EDGE, LUNG, HD ULTRA; UIH: H_SHARP_C
    r"^(?!fc)[a-z]{1,2}[5-9]\d",  # Siemens from 50 on: H60s, B70f, J70h, U90u, Hr60, Br64d
    r"^fc[358]\d",  # Canon, formerly Toshiba: FC3x and FC8x for bone, FC5x for lung; FC2x and FC6x are for brain
    r"^(d|e|f|l|y[a-e])$",  # Philips: detail, bone and lung; UA, UB and UC are for brain, A to C for the body
)
DETAIL = _any_of(
    _word(r"details?", r"hi\W?res\w*", r"high\W?res\w*", "hrct", r"(?<!\d )u?hr"),
)
DETAIL_KERNEL = _any_of(
    r"\bdetail",  # GE
    r"^(?!fc)[a-z]{1,2}4[5-9]",  # Siemens
    r"^uc$",  # Philips
)
