// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

// T = Q^T A Q, Q = H_{n-1} ... H_1, H_i = I - tau_i v_i v_i^T, from the last row up: v_i makes row i zero left of the subdiagonal.
// With w = tau A v - (tau^2 / 2) (v^T A v) v the similarity is A - v w^T - w v^T (Wilkinson 1962). The rank-two update of one step and the
// product A v of the next need the same matrix, so one pass does both and A is read and written once a step (Howell et al., 2008).
// Layout       Row r of the lower triangle starts on a cache line; lanes right of the diagonal are kept at zero by masks. Row i ends up holding v_i.
// Mapping      Four rows at once, one thread: the vectors that threads would exchange every step cost more than half a pass (docs/performance.md).
internal sealed unsafe partial class EigenSymmetric
{
    // |A| is about 1 here. Below this square a row's reflection is identity: what it leaves out is far below one rounding of |A|.
    private const float NegligibleSquare = 1e-30f;

    private void Reduce<T>()
        where T : struct, ILanes<T>
    {
        int n = _n;
        int padded = _stride + T.Count;
        float* a = _reducedBuffer.Floats(0);
        float* storage = _vectorBuffer.Floats((4 * padded) + (2 * T.Count));
        new Span<float>(storage, (4 * padded) + (2 * T.Count)).Clear();
        float* v = storage;
        float* w = v + padded;
        float* next = w + padded;
        float* product = next + padded;
        float* mask = product + padded;
        new Span<float>(mask, T.Count).Fill(1.0f);

        for (int i = n - 1; i >= 1; i--)
        {
            float* row = a + ((nint)i * _stride);
            AddScaled<T>(row, -v[i], w, -w[i], v, i + 1);
            v[i] = 0.0f;                                  // row i is done: a pass over a block of rows that includes it leaves it alone
            w[i] = 0.0f;
            _tridiagonal.Diagonal[i] = row[i];
            float tau = Reflection<T>(row, next, i, out _tridiagonal.OffDiagonal[i - 1]);
            _tau[i] = tau;
            Buffer.MemoryCopy(next, row, i * sizeof(float), i * sizeof(float));

            Pass<T> pass = new(a, _stride, v, w, next, product, mask);
            pass.Run(i);
            CorrectProduct<T>(product, next, w, tau, i);
            float* done = v;
            v = next;
            next = done;
        }

        _tridiagonal.Diagonal[0] = n == 1 ? a[0] : a[0] - (2.0f * v[0] * w[0]);
    }

    /// <summary>v (v[i-1] = 1, zero from i on) and tau of the reflection that maps row[0..i) to (0, ..., 0, offDiagonal).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Reflection<T>(float* row, float* v, int i, out double offDiagonal)
        where T : struct, ILanes<T>
    {
        Buffer.MemoryCopy(row, v, i * sizeof(float), i * sizeof(float));
        new Span<float>(v + i - 1, T.Count + 2).Clear();
        double alpha = row[i - 1];
        float square = Dot<T>(v, v, i);
        offDiagonal = alpha;
        if (square < NegligibleSquare)
        {
            new Span<float>(v, i).Clear();
            v[i - 1] = 1.0f;
            return 0.0f;
        }

        double beta = -Math.CopySign(Math.Sqrt((alpha * alpha) + square), alpha);
        T factor = T.Broadcast((float)(1.0 / (alpha - beta)));
        for (int j = 0; j < i; j += T.Count)
        {
            T.Store(T.Multiply(factor, T.Load(v + j)), v + j);
        }

        v[i - 1] = 1.0f;
        offDiagonal = beta;
        return (float)((beta - alpha) / beta);
    }

    /// <summary>w = tau y - (tau^2 / 2) (y^T v) v with y = A v.</summary>
    private static void CorrectProduct<T>(float* product, float* v, float* w, float tau, int i)
        where T : struct, ILanes<T>
    {
        T factor = T.Broadcast(tau);
        for (int j = 0; j < i; j += T.Count)
        {
            T.Store(T.Multiply(factor, T.Load(product + j)), w + j);
        }

        new Span<float>(w + i, T.Count + 1).Clear();
        AddScaled<T>(w, -0.5f * tau * Dot<T>(w, v, i), v, 0.0f, v, i);
    }

    /// <summary>Vectors are padded with zeros to whole registers, here and below.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Dot<T>(float* x, float* y, int count)
        where T : struct, ILanes<T>
    {
        T even = T.Zero;
        T odd = T.Zero;
        int j = 0;
        for (; j + T.Count < count; j += 2 * T.Count)
        {
            even = T.MultiplyAdd(T.Load(x + j), T.Load(y + j), even);
            odd = T.MultiplyAdd(T.Load(x + j + T.Count), T.Load(y + j + T.Count), odd);
        }

        if (j < count)
        {
            even = T.MultiplyAdd(T.Load(x + j), T.Load(y + j), even);
        }

        return T.Sum(T.Add(even, odd));
    }

    /// <summary>target += p x + q y.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddScaled<T>(float* target, float p, float* x, float q, float* y, int count)
        where T : struct, ILanes<T>
    {
        T first = T.Broadcast(p);
        T second = T.Broadcast(q);
        for (int j = 0; j < count; j += T.Count)
        {
            T.Store(T.MultiplyAdd(second, T.Load(y + j), T.MultiplyAdd(first, T.Load(x + j), T.Load(target + j))), target + j);
        }
    }

    /// <summary>A -= v w^T + w v^T and product = A next.</summary>
    private readonly struct Pass<T>(float* a, nint stride, float* v, float* w, float* next, float* product, float* mask)
        where T : struct, ILanes<T>
    {
        private readonly float* _a = a;
        private readonly float* _v = v;
        private readonly float* _w = w;
        private readonly float* _next = next;
        private readonly float* _product = product;
        private readonly float* _mask = mask;

        /// <summary>Over the leading <paramref name="rows"/> rows.</summary>
        public void Run(int rows)
        {
            new Span<float>(_product, (rows + T.Count) / T.Count * T.Count).Clear();
            for (int row = 0; row < rows; row += RowBlock)
            {
                Rows(row, _product);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Rows(int row, float* product)
        {
            float* v = _v;
            float* w = _w;
            float* next = _next;
            float* a0 = _a + (row * stride);
            float* a1 = a0 + stride;
            float* a2 = a1 + stride;
            float* a3 = a2 + stride;
            T v0 = T.Broadcast(-v[row]), v1 = T.Broadcast(-v[row + 1]), v2 = T.Broadcast(-v[row + 2]), v3 = T.Broadcast(-v[row + 3]);
            T w0 = T.Broadcast(-w[row]), w1 = T.Broadcast(-w[row + 1]), w2 = T.Broadcast(-w[row + 2]), w3 = T.Broadcast(-w[row + 3]);
            T x0 = T.Broadcast(next[row]), x1 = T.Broadcast(next[row + 1]), x2 = T.Broadcast(next[row + 2]), x3 = T.Broadcast(next[row + 3]);
            T dot0 = T.Zero, dot1 = T.Zero, dot2 = T.Zero, dot3 = T.Zero;
            int diagonal = row / T.Count * T.Count;
            for (int j = 0; j < diagonal; j += T.Count)
            {
                T vj = T.Load(v + j);
                T wj = T.Load(w + j);
                T xj = T.Load(next + j);
                T yj = T.Load(product + j);
                T e0 = T.MultiplyAdd(w0, vj, T.MultiplyAdd(v0, wj, T.Load(a0 + j)));
                T e1 = T.MultiplyAdd(w1, vj, T.MultiplyAdd(v1, wj, T.Load(a1 + j)));
                T e2 = T.MultiplyAdd(w2, vj, T.MultiplyAdd(v2, wj, T.Load(a2 + j)));
                T e3 = T.MultiplyAdd(w3, vj, T.MultiplyAdd(v3, wj, T.Load(a3 + j)));
                T.Store(e0, a0 + j);
                T.Store(e1, a1 + j);
                T.Store(e2, a2 + j);
                T.Store(e3, a3 + j);
                dot0 = T.MultiplyAdd(e0, xj, dot0);
                dot1 = T.MultiplyAdd(e1, xj, dot1);
                dot2 = T.MultiplyAdd(e2, xj, dot2);
                dot3 = T.MultiplyAdd(e3, xj, dot3);
                yj = T.Add(T.MultiplyAdd(e1, x1, T.MultiplyAdd(e0, x0, yj)), T.MultiplyAdd(e3, x3, T.Multiply(e2, x2)));
                T.Store(yj, product + j);
            }

            Diagonal(a0, diagonal, row, v0, w0, x0, product, dot0);
            Diagonal(a1, diagonal, row + 1, v1, w1, x1, product, dot1);
            Diagonal(a2, diagonal, row + 2, v2, w2, x2, product, dot2);
            Diagonal(a3, diagonal, row + 3, v3, w3, x3, product, dot3);
        }

        /// <summary>The register that holds row r's diagonal: lanes right of it are not part of the matrix, and the diagonal counts once.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private void Diagonal(float* a, int start, int r, T vr, T wr, T xr, float* product, T dot)
        {
            T toDiagonal = T.Load(_mask + T.Count - (r - start + 1));
            T beforeDiagonal = T.Load(_mask + T.Count - (r - start));
            T e = T.MultiplyAdd(wr, T.Load(_v + start), T.MultiplyAdd(vr, T.Load(_w + start), T.Load(a + start)));
            e = T.Multiply(e, toDiagonal);
            T.Store(e, a + start);
            T.Store(T.MultiplyAdd(T.Multiply(e, beforeDiagonal), xr, T.Load(product + start)), product + start);
            product[r] += T.Sum(T.MultiplyAdd(e, T.Load(_next + start), dot));
        }
    }
}
