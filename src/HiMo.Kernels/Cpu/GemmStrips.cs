// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>C = A B in strips of rows, as tasks of a job that holds other work too. The bits are those of <see cref="Gemm.Multiply"/>.</summary>
internal unsafe struct GemmStrips : IParallelWork
{
    private const int MinHeight = 48;                     // packing B again for every strip costs as much as ten rows

    public WorkerPool Pool;
    public int M;
    public int N;
    public int K;
    public float* A;
    public nint ARow;
    public nint AColumn;
    public float* B;
    public nint BRow;
    public nint BColumn;
    public float* C;
    public nint CRow;

    public readonly int Tasks => RowBlocks.CeilDiv(M, Height);

    private readonly int Height => Pool.Threads == 1 ? Math.Max(1, M) : Math.Max(MinHeight, RowBlocks.CeilDiv(M, 2 * Pool.Threads));

    public readonly void Run(int task, int thread)
    {
        int row = task * Height;
        Gemm.Multiply(
            Pool, Math.Min(Height, M - row), N, K, 1.0f, A + (row * ARow), ARow, AColumn, B, BRow, BColumn, 0.0f, C + (row * CRow), CRow);
    }
}
