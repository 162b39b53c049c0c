// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// Rows of X are eigenvectors of T; W = X H_1 H_2 ... H_{n-1}, in blocks H_a ... H_b = I - V^T S V with the v_i as rows of V and S upper triangular
// (Schreiber and Van Loan, 1989): S_jj = tau_j, S_{0..j, j} = -tau_j S (V v_j).  X -= (X V^T) (S V): two large products a block.
internal sealed unsafe partial class EigenSymmetric
{
    private void BackTransform(float* x)
    {
        int n = _n;
        int size = n >= 256 ? 64 : 32;
        float* v = _reducedBuffer.Floats(0);
        float* gram = _blockBuffer.Floats(((long)2 * size * size) + ((long)size * n * 2));
        float* s = gram + (size * size);
        float* sv = s + (size * size);
        float* xv = sv + ((nint)size * n);
        for (int first = 1; first < n; first += size)
        {
            int count = Math.Min(size, n - first);
            int length = first + count - 1;                              // v_i reaches to column i - 1
            float* block = v + ((nint)first * _stride);
            for (int i = 0; i < count; i++)
            {
                new Span<float>(block + ((nint)i * _stride) + first + i, length - first - i).Clear();
            }

            Gemm.Multiply(_pool, count, count, length, 1.0f, block, _stride, 1, block, 1, _stride, 0.0f, gram, count, GemmTriangle.Lower);
            TriangularFactor(gram, s, count, new ReadOnlySpan<float>(_tau, first, count));
            Gemm.Multiply(_pool, count, length, count, 1.0f, s, count, 1, block, _stride, 1, 0.0f, sv, length);
            Gemm.Multiply(_pool, n, count, length, 1.0f, x, n, 1, block, 1, _stride, 0.0f, xv, count);
            Gemm.Multiply(_pool, n, length, count, -1.0f, xv, count, 1, sv, length, 1, 1.0f, x, n);
        }
    }

    /// <summary>S from the lower triangle of the Gram matrix of V's rows; both count x count.</summary>
    private static void TriangularFactor(float* gram, float* s, int count, ReadOnlySpan<float> tau)
    {
        new Span<float>(s, count * count).Clear();
        for (int j = 0; j < count; j++)
        {
            for (int i = 0; i < j; i++)
            {
                s[(i * count) + j] = -tau[j] * TensorPrimitives.Dot(
                    new ReadOnlySpan<float>(s + (i * count) + i, j - i), new ReadOnlySpan<float>(gram + (j * count) + i, j - i));
            }

            s[(j * count) + j] = tau[j];
        }
    }
}
