// SPDX-License-Identifier: Apache-2.0
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Memory and launch of the eigensystems of every batch, one or two sides each.</summary>
/// <param name="size">n.</param>
/// <param name="sides">Decompositions of a batch, 1 or 2.</param>
/// <param name="isGram">Whether matrices are Gram matrices of rows that may not be centred.</param>
/// <param name="settings">Of the eigensystem.</param>
internal sealed class DecompositionsGpu(int size, int sides, bool isGram, GpuStepSettings settings)
{
    private ArrayView<float> _matrices;
    private ArrayView<float> _values;
    private ArrayView<float> _vectors;
    private ArrayView<float> _rank;
    private ArrayView<double> _scratch;

    private long Square => (long)size * size;

    /// <summary>The matrix of each side, to be filled in before <see cref="Run"/>.</summary>
    public BatchView<float> Matrices => new(_matrices, sides * Square);

    /// <summary>W of each side.</summary>
    public BatchView<float> Vectors => new(_vectors, sides * Square);

    /// <summary>Of each side explained variance and relative gap.</summary>
    public BatchView<float> Rank => new(_rank, 2 * sides);

    /// <summary>Takes memory.</summary>
    public void Layout(DeviceArena arena)
    {
        _matrices = arena.AllBatches<float>(sides * Square);
        _values = arena.AllBatches<float>(sides * size);
        _vectors = arena.AllBatches<float>(sides * Square);
        _rank = arena.AllBatches<float>(2 * sides);
        _scratch = arena.AllBatches<double>(sides * EigenSymmetricGpu.ScratchLength(size, settings.LargestGroupProblem));
    }

    /// <summary>Enqueues the eigensystems.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="tau">Share of the variance to reach.</param>
    /// <param name="kept">Receives m of a batch's sides, side by side.</param>
    public void Run(BatchStream stream, double tau, BatchView<int> kept) => EigenSymmetricGpu.Run(
        stream.Gpu, stream.Stream, sides * stream.Batches, settings.EigenThreads, settings.LargestGroupProblem, new EigenArguments
        {
            Matrix = _matrices, Values = _values, Vectors = _vectors, Scratch = _scratch, Kept = kept.Data, KeptGap = sides == 1 ? (int)kept.Stride - 1 : 0,
            Summary = _rank, Size = size, Tau = tau, IsGram = isGram ? 1 : 0,
        });

    /// <summary>What <see cref="Run"/> finds for a side.</summary>
    public Decomposition Side(int side, BatchView<int> kept) => new()
    {
        Values = new BatchView<float>(_values, sides * size).From(side * size), Vectors = Vectors.From(side * Square), Kept = kept.From(side), Size = size,
    };

    /// <summary>What <see cref="Run"/> finds, for kernels that choose the side.</summary>
    public Decomposition All(BatchView<int> kept) => Side(0, kept);
}
