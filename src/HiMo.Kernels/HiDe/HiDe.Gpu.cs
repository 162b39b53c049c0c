// SPDX-License-Identifier: Apache-2.0
// HiDe alone on the GPU, G batches in the same launches, for rows as they are given.
// N <= d     K of the rows less their first,  M as in GramBasis.Gpu.cs,  u' = M (x - x_0) + x_0,  T = G (x - x_0)^T,  dx = M* G + E2 (x - x_0):
//            M keeps a constant column and E2 takes it to zero, so the first row changes nothing but the rounding of nearly equal rows
// N > d      CovarianceBasis.Gpu.cs
// Launches   N <= d: forward 4 (K; eigensystem; M; u'), backward 6 (T; T W; 3 for E2; dx), 5 stopped.  N > d: forward 6, backward 9, 5 stopped. 7 more
//            for eigensystems of more than 176 (128 where a group has less than 163 KiB of shared memory), and one for every further turn of their columns (EigenSymmetric.Gpu.Large.cs); else as many for any G.
// Memory     all G batches', until the next forward pass: 6 N^2 floats and 2 N^2 doubles each, or 4 N d and 4 d^2 floats and more.
// Precision  the error of float32. Deterministic: every sum has one order.
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>HiDe of G batches in device memory, which <see cref="TakeMemory"/> allocates.</summary>
internal sealed class HiDeGpu : IDisposable
{
    private readonly MatrixShape _shape;
    private readonly int _groups;
    private readonly double _tau;
    private readonly GramBasisGpu? _gram;               // N <= d
    private readonly CovarianceBasisGpu? _covariance;   // N > d
    private readonly bool _isStopped;
    private Gpu _gpu = null!;
    private MemoryBuffer1D<byte, Stride1D.Dense>? _memory;
    private BatchView<int> _kept;
    private BatchView<float> _reconstruction;           // M
    private BatchView<float> _turned;                   // T W
    private BatchView<float> _second;                   // T, then E2

    /// <summary>Prepares a decomposition.</summary>
    /// <param name="shape">N x d of each batch, min(N, d) up to <see cref="EigenSymmetricGpu.LargeMaxSize"/>.</param>
    /// <param name="groups">G, up to <see cref="BatchStream.MaxBatches"/>.</param>
    /// <param name="tau">Share of the variance to reach.</param>
    /// <param name="basisGradient">How the gradient treats the directions.</param>
    /// <param name="settings">Of the eigensystem.</param>
    public HiDeGpu(MatrixShape shape, int groups, double tau, BasisGradient basisGradient, GpuStepSettings settings)
    {
        _shape = shape;
        _groups = groups;
        _tau = tau;
        _isStopped = basisGradient == BasisGradient.Stopped;
        _gram = shape.Rows <= shape.Columns ? new GramBasisGpu(shape.Rows, 1, basisGradient, settings) : null;
        _covariance = _gram is null ? new CovarianceBasisGpu(shape, 1, basisGradient, settings) : null;
        DeviceArena counting = new(groups);
        Layout(counting);
        Bytes = counting.Used;
    }

    /// <summary>Device memory that it takes.</summary>
    public long Bytes { get; }

    /// <summary>m of each batch of the last forward pass.</summary>
    public ArrayView<int> Kept => _kept.Data;

    /// <summary>Explained variance and relative gap of each.</summary>
    public ArrayView<float> Rank => (_gram?.Decompositions ?? _covariance!.Decompositions).Rank.Data;

    /// <summary>Allocates, once; before the first pass.</summary>
    public void TakeMemory(Gpu gpu)
    {
        _gpu = gpu;
        _memory = gpu.OnlyRecords ? null : gpu.Allocate<byte>(Bytes);
        Layout(new DeviceArena(_memory?.View.BaseView ?? gpu.PretendMemory(Bytes), _groups));
    }

    /// <summary>Enqueues u'.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="texts">x, N x d a batch.</param>
    /// <param name="components">Receives u', N x d a batch.</param>
    public void Forward(AcceleratorStream stream, ArrayView<float> texts, ArrayView<float> components)
    {
        BatchStream batches = new(_gpu, stream, _groups);
        BatchView<float> x = Rows(texts);
        BatchView<float> result = Rows(components);
        if (_gram is null)
        {
            CovarianceSide side = _covariance!.Side(0, x, _kept);
            _covariance.Covariance(batches, side);
            _covariance.Decompositions.Run(batches, _tau, _kept);
            _covariance.Reconstruct(batches, side, result);
            return;
        }

        int n = _shape.Rows, d = _shape.Columns;
        ShiftedRows rows = Shifted(x);
        batches.Multiply(1, new GemmArguments<ShiftedRows, ShiftedRows, StridedMatrix>
        {
            A = rows, B = rows, C = StridedMatrix.Rows(_gram.Decompositions.Matrices, n), Rows = n, Columns = n, Depth = d,
        });
        _gram.Decompositions.Run(batches, _tau, _kept);
        _gram.Reconstruction(batches, _kept, _reconstruction);
        batches.Multiply(1, new GemmArguments<StridedMatrix, ShiftedColumns, AddedResult>
        {
            A = StridedMatrix.Rows(_reconstruction, n), B = new() { Rows = rows }, C = new() { Data = result, Constant = x, Columns = d }, Rows = n, Columns = d, Depth = n,
        });
    }

    /// <summary>Enqueues dL/dx of the rows of the last forward pass.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="texts">x, unchanged.</param>
    /// <param name="gradComponents">dL/du', N x d a batch.</param>
    /// <param name="gradTexts">Receives dL/dx, N x d a batch.</param>
    public void Backward(AcceleratorStream stream, ArrayView<float> texts, ArrayView<float> gradComponents, ArrayView<float> gradTexts)
    {
        BatchStream batches = new(_gpu, stream, _groups);
        BatchView<float> x = Rows(texts);
        BatchView<float> gradient = Rows(gradComponents);
        BatchView<float> result = Rows(gradTexts);
        if (_gram is null)
        {
            _covariance!.Gradient(batches, _covariance.Side(0, x, _kept), gradient, result, isAdded: false);
            return;
        }

        int n = _shape.Rows, d = _shape.Columns;
        ShiftedRows rows = Shifted(x);
        batches.Multiply(1, new GemmArguments<StridedMatrix, ShiftedRows, StridedMatrix>
        {
            A = StridedMatrix.Rows(gradient, d), B = rows, C = StridedMatrix.Rows(_second, n), Rows = n, Columns = n, Depth = d,
        });
        _gram.Turn(batches, _second, _turned);
        _gram.Gradient(batches, _kept, _turned, _second);
        batches.Multiply(1, new GemmArguments<RowGradientLeft, RowGradientRight, StridedMatrix>
        {
            A = new() { Side = new() { Reconstruction = _reconstruction, Size = n, IsStopped = _isStopped ? 1 : 0 }, Second = _second },
            B = new() { Gradient = gradient, Rows = rows, Count = n }, C = StridedMatrix.Rows(result, d), Rows = n, Columns = d, Depth = 2 * n,
        });
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose() => _memory?.Dispose();

    private BatchView<float> Rows(ArrayView<float> all) => new(all, _shape.Length);

    private ShiftedRows Shifted(BatchView<float> x) => new() { Rows = new CentredRows { Unit = x, Columns = _shape.Columns } };

    private void Layout(DeviceArena arena)
    {
        _kept = arena.EachBatch<int>(1);
        _covariance?.Layout(arena);
        if (_gram is not null)
        {
            long square = (long)_shape.Rows * _shape.Rows;
            _gram.Layout(arena);
            _reconstruction = arena.EachBatch(square);
            _turned = arena.EachBatch(square);
            _second = arena.EachBatch(square);
        }
    }
}
