// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

// Rows of X are eigenvectors of T; W = X H_1 H_2 ... H_{n-1}, in blocks H_a ... H_b = I - V^T S V with the v_i as rows of V and S upper triangular
// (Schreiber and Van Loan, 1989): S_jj = tau_j, S_{0..j, j} = -tau_j S (V v_j).  X -= (X V^T) (S V): two large products a block.
// Mapping      First one task a block forms its S V; then one task a strip of X takes it through all blocks while it stays in that core's cache.
internal sealed unsafe partial class EigenSymmetric
{
    private const int MaxBlock = 64;
    private const int TileRows = 12;
    private const int MaxStrip = 192;                     // rows of X; 192 x 768 floats are half a second-level cache

    private void BackTransform(int count, float* x)
    {
        BlockWork work = new(this, _blockBuffer.Floats((long)_n * _n), count, x);
        work.Phase = 0;
        _pool.Run(ref work, (_n - 1 + work.Block - 1) / work.Block);
        work.Phase = 1;
        _pool.Run(ref work, (count + work.Strip - 1) / work.Strip);
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

    private struct BlockWork(EigenSymmetric owner, float* factors, int rows, float* x) : IParallelWork
    {
        private readonly float* _factors = factors;       // row i - 1 belongs to reflection i
        private readonly float* _x = x;

        public int Phase { get; set; }

        public readonly int Block => owner._n < 256 ? MaxBlock / 2 : MaxBlock;     // forming S costs as the square of it

        // Equal strips, as many for every thread; whole register tiles of a product.
        public readonly int Strip
        {
            get
            {
                int threads = owner._pool.Threads;
                int strips = RowBlocks.CeilDiv(RowBlocks.CeilDiv(rows, MaxStrip), threads) * threads;
                return RowBlocks.CeilDiv(RowBlocks.CeilDiv(rows, strips), TileRows) * TileRows;
            }
        }

        public readonly void Run(int task, int thread)
        {
            if (Phase == 0)
            {
                Factor(1 + (task * Block));
            }
            else
            {
                Apply(task * Strip);
            }
        }

        private readonly float* Reflections(int first) => owner._reducedBuffer.Floats(0) + ((nint)first * owner._stride);

        [SkipLocalsInit]
        private readonly void Factor(int first)
        {
            int n = owner._n;
            int count = Math.Min(Block, n - first);
            int length = first + count - 1;               // v_i reaches to column i - 1
            float* v = Reflections(first);
            for (int i = 0; i < count; i++)
            {
                new Span<float>(v + ((nint)i * owner._stride) + first + i, length - first - i).Clear();
            }

            float* gram = stackalloc float[MaxBlock * MaxBlock];
            float* s = stackalloc float[MaxBlock * MaxBlock];
            Gemm.Multiply(
                owner._pool, count, count, length, 1.0f, v, owner._stride, 1, v, 1, owner._stride, 0.0f, gram, count, GemmTriangle.Lower);
            TriangularFactor(gram, s, count, new ReadOnlySpan<float>(owner._tau, first, count));
            Gemm.Multiply(
                owner._pool, count, length, count, 1.0f, s, count, 1, v, owner._stride, 1, 0.0f, _factors + ((nint)(first - 1) * n), n);
        }

        [SkipLocalsInit]
        private readonly void Apply(int row)
        {
            int n = owner._n;
            int height = Math.Min(Strip, rows - row);
            float* x = _x + ((nint)row * n);
            float* products = stackalloc float[MaxStrip * MaxBlock];
            for (int first = 1; first < n; first += Block)
            {
                int count = Math.Min(Block, n - first);
                int length = first + count - 1;
                Gemm.Multiply(
                    owner._pool, height, count, length, 1.0f, x, n, 1, Reflections(first), 1, owner._stride, 0.0f, products, count);
                Gemm.Multiply(
                    owner._pool, height, length, count, -1.0f, products, count, 1, _factors + ((nint)(first - 1) * n), n, 1, 1.0f, x, n);
            }
        }
    }
}
