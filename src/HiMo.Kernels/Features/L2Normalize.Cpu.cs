// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// Row normalisation on float32 views, computed by the float64 reference.
internal static class L2NormalizeCpu
{
    public static void Forward(ReadOnlyMatrixView x, MatrixView y) => L2NormalizeReference.Forward(ReferenceMatrix.Widen(x)).Narrow(y);

    public static void Backward(ReadOnlyMatrixView x, ReadOnlyMatrixView gradY, MatrixView gradX)
    {
        ReferenceMatrix wide = ReferenceMatrix.Widen(x);
        L2NormalizeReference.Backward(wide, L2NormalizeReference.Forward(wide), ReferenceMatrix.Widen(gradY)).Narrow(gradX);
    }
}
