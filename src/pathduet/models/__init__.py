"""The networks: multi-modal teacher and histology-only student, block by block."""

from pathduet.models.method.attention import MultiHeadAttention
from pathduet.models.method.config import MAGNIFICATIONS, ModelConfig
from pathduet.models.method.deformable_attention import DeformableAttention, reference_points, sample_map
from pathduet.models.method.dpc_knn import Clusters, dpc_knn, merge_tokens
from pathduet.models.method.experts import combine_hazards, combine_probabilities
from pathduet.models.method.fusion import DisentangledFusion, SubspaceFusion
from pathduet.models.method.gene_tokens import GeneTokens, GeneVector
from pathduet.models.method.patch_tokens import PatchTokens
from pathduet.models.method.plain_attention import PlainAttention, pool_keys
from pathduet.models.method.student import Student, StudentOutput
from pathduet.models.method.subspace_order import SubspaceOrder, optimal_order
from pathduet.models.method.teacher import Teacher, TeacherOutput
from pathduet.models.method.token_aggregation import Aggregation, TokenAggregation
from pathduet.models.released import ReleasedStudent, ReleasedTeacher

__all__ = [
    "MAGNIFICATIONS",
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
    "combine_hazards",
    "combine_probabilities",
    "dpc_knn",
    "merge_tokens",
    "optimal_order",
    "pool_keys",
    "reference_points",
    "sample_map",
]
