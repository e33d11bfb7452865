"""The networks: multi-modal teacher and histology-only student, block by block."""

from pathduet.models.aggregation import Aggregation, TokenAggregation
from pathduet.models.attention import MultiHeadAttention
from pathduet.models.clustering import Clusters, dpc_knn, merge_tokens
from pathduet.models.config import MAGNIFICATIONS, SUBSPACES, ModelConfig
from pathduet.models.deformable import DeformableAttention, reference_points, sample_map
from pathduet.models.experts import combine_hazards, combine_probabilities
from pathduet.models.fusion import DisentangledFusion, SubspaceFusion
from pathduet.models.gene_tokens import GeneTokens, GeneVector
from pathduet.models.patch_tokens import PatchTokens
from pathduet.models.plain import PlainAttention, pool_keys
from pathduet.models.released import ReleasedStudent, ReleasedTeacher
from pathduet.models.student import Student, StudentOutput
from pathduet.models.subspace_order import SubspaceOrder, assignment_costs
from pathduet.models.teacher import Teacher, TeacherOutput

__all__ = [
    "MAGNIFICATIONS",
    "SUBSPACES",
    "Aggregation",
    "Clusters",
    "DeformableAttention",
    "DisentangledFusion",
    "GeneTokens",
    "GeneVector",
    "ModelConfig",
    "MultiHeadAttention",
    "PatchTokens",
    "PlainAttention",
    "ReleasedStudent",
    "ReleasedTeacher",
    "Student",
    "StudentOutput",
    "SubspaceFusion",
    "SubspaceOrder",
    "Teacher",
    "TeacherOutput",
    "TokenAggregation",
    "assignment_costs",
    "combine_hazards",
    "combine_probabilities",
    "dpc_knn",
    "merge_tokens",
    "pool_keys",
    "reference_points",
    "sample_map",
]
