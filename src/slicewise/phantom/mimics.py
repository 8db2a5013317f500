"""What makes a radiologist look twice: which mimics a head has.

A `Mimic` is planned before the brain is drawn, because its mass effect shapes the brain; `mimic_sites` says where it
lies, `lesions` and `surgery` paint it. Mimics are negatives, and they come beside hemorrhages as well.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from slicewise.phantom.mimic_sites import SAMPLERS, SURGERY, Mimic, sample_air

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]

_WITH_AGE = frozenset(
    {
        "leukoaraiosis",
        "choroid_calcification",
        "falx_calcification",
        "tentorium_calcification",
        "basal_ganglia_calcification",
        "vascular_calcification",
        "old_infarct",
        "lacunes",
    }
)


class MimicParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a head has a mimic: the probability for a head of middle age.

    Those marked (age) grow with age, to twice the probability at the most.

    Attributes:
        atrophy: Extreme atrophy: gaping sulci and a wide rim of CSF.
        hydrocephalus: Ventricles wide beyond age, sulci pressed shut.
        shunt: Ventricular catheter with its valve and burr hole; often with hydrocephalus.
        dense_brain: Dense, tight, young brain.
        leukoaraiosis: Severe darkening of the white matter beside the ventricles (age).
        dense_sinus: Venous sinuses as dense as clotted blood: haemoconcentration or thrombosis.
        dense_artery: A dense middle cerebral or basilar artery.
        contrast: Contrast medium in arteries, sinuses, falx and choroid plexus.
        pineal_calcification: Calcified pineal gland.
        choroid_calcification: Calcified choroid plexus (age).
        falx_calcification: Calcified or ossified falx (age).
        tentorium_calcification: Calcified tentorium (age).
        basal_ganglia_calcification: Calcified globus pallidus (age).
        vascular_calcification: Calcified carotid siphons and vertebral arteries (age).
        granuloma: A calcified dot anywhere in the brain.
        old_infarct: Old infarct, about as dark as CSF (age).
        fresh_infarct: Infarct of the last days: swollen, darker than brain.
        lacunes: Small old infarcts of the deep nuclei (age).
        encephalomalacia: Loss of brain at poles and base after an old injury.
        edema: White matter oedema without a visible mass.
        tumour: Tumour of the brain without blood: dark, ring-like, or calcified.
        meningioma: Dense tumour on dura or falx, sometimes calcified.
        arachnoid_cyst: Cyst of CSF at temporal pole, convexity or in the posterior fossa.
        hygroma: CSF or old, dark blood-free fluid over one or both hemispheres.
        colloid_cyst: Dense dot at the front of the third ventricle.
        craniectomy: A large piece of the vault is missing.
        craniotomy: A piece of the vault was cut out and put back.
        burr_hole: A hole in the vault.
        postoperative_air: Probability of air in the skull after one of the three.
        pneumocephalus: Air in the skull without surgery.
        clip: Aneurysm clip.
        coil: Coiled aneurysm.
        hyperostosis: Nodular thickening of the frontal inner table.
        scalp_swelling: Dense swelling of the scalp.
        fracture: Line through the vault.
    """

    atrophy: Probability = 0.06
    hydrocephalus: Probability = 0.04
    shunt: Probability = 0.035
    dense_brain: Probability = 0.05
    leukoaraiosis: Probability = 0.12
    dense_sinus: Probability = 0.07
    dense_artery: Probability = 0.05
    contrast: Probability = 0.03
    pineal_calcification: Probability = 0.55
    choroid_calcification: Probability = 0.4
    falx_calcification: Probability = 0.14
    tentorium_calcification: Probability = 0.05
    basal_ganglia_calcification: Probability = 0.08
    vascular_calcification: Probability = 0.3
    granuloma: Probability = 0.03
    old_infarct: Probability = 0.09
    fresh_infarct: Probability = 0.05
    lacunes: Probability = 0.12
    encephalomalacia: Probability = 0.04
    edema: Probability = 0.03
    tumour: Probability = 0.05
    meningioma: Probability = 0.03
    arachnoid_cyst: Probability = 0.03
    hygroma: Probability = 0.05
    colloid_cyst: Probability = 0.01
    craniectomy: Probability = 0.025
    craniotomy: Probability = 0.03
    burr_hole: Probability = 0.03
    postoperative_air: Probability = 0.3
    pneumocephalus: Probability = 0.01
    clip: Probability = 0.015
    coil: Probability = 0.015
    hyperostosis: Probability = 0.05
    scalp_swelling: Probability = 0.12
    fracture: Probability = 0.03


def sample_mimics(rng: np.random.Generator, age: float, parameters: MimicParameters) -> tuple[Mimic, ...]:
    """Draws the mimics of one head.

    Args:
        rng: Where everything is drawn from.
        age: 0 for young, 1 for old.
        parameters: How often each of them comes.
    """
    found: list[Mimic] = []
    for kind, sample in SAMPLERS.items():
        probability = float(getattr(parameters, kind))
        if kind in _WITH_AGE and probability < 1:
            probability = min(2 * age * probability, 1.0)
        own = np.random.default_rng(rng.integers(2**63))  # switching one off leaves the others as they are
        if own.random() < probability:
            found += sample(own)
    if any(one.kind in SURGERY for one in found) and rng.random() < parameters.postoperative_air:
        surgery = next(one for one in found if one.kind in SURGERY)
        found.append(sample_air(rng, surgery.side))
    return tuple(found)
