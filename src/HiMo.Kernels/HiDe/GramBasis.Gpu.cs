// SPDX-License-Identifier: Apache-2.0
// HiDe in N x N on the GPU, for N <= d: the decomposition of one side or two, and its derivative.
//            K' = H K H = W Lambda W^T,  M = W_m W_m^T + 1 1^T / N,  u' = M x                        HiMo-CLIP (arXiv:2511.06653), equation 1
// Backward   with T = G x^T for the gradient G of u', the rows get M* G + E2 x,  E2 = F W^T
//            exact:    M* = M,  F = 2 W Z,  2 Z = Y + Y^T,  Y = coupling of W^T (T W)                  (the coupling of i and j is that of j and i)
//            stopped:  M* = 1 1^T / N,  F = H (T W)_m Lambda_m^{-1}                                  (W is centred, so H beside it changes nothing)
//            E2 takes T W alone, so who has the factors of T turns the second by W, beside other products, and never makes T.
// Launches   M: 1; T W from T: 1; Y from T W: 1, stopped none; F: 1; E2: 1; of one side or two.
// Precision  the error of float32.
namespace HiMo.Kernels;

/// <summary>HiDe of some sides by their Gram matrices.</summary>
/// <param name="size">N.</param>
/// <param name="sides">Decompositions of a batch, 1 or 2.</param>
/// <param name="basisGradient">How <see cref="Gradient"/> treats the directions.</param>
/// <param name="settings">Of the eigensystem.</param>
internal sealed class GramBasisGpu(int size, int sides, BasisGradient basisGradient, GpuStepSettings settings)
{
    /// <summary>The eigensystems of K, which may be of rows that are not centred.</summary>
    public DecompositionsGpu Decompositions { get; } = new(size, sides, isGram: true, settings);

    /// <summary>Y of each side, of an exact basis; N x N a side, as every array below.</summary>
    public BatchView<float> Coupled { get; private set; }

    private long Square => (long)size * size;

    /// <summary>Takes memory.</summary>
    public void Layout(DeviceArena arena)
    {
        Decompositions.Layout(arena);
        Coupled = basisGradient == BasisGradient.Exact ? arena.EachBatch(sides * Square) : default;
    }

    /// <summary>Enqueues M of each side.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="kept">m of each side.</param>
    /// <param name="result">Receives M.</param>
    public void Reconstruction(BatchStream stream, BatchView<int> kept, BatchView<float> result)
    {
        KeptVectorsOperand vectors = new() { Decomposition = Decompositions.All(kept) };
        Multiply(stream, vectors, vectors, new MeanAddedResult { Data = result, Size = size });
    }

    /// <summary>Enqueues T W of each side.</summary>
    public void Turn(BatchStream stream, BatchView<float> t, BatchView<float> turned) =>
        Multiply(stream, Rows(t), Columns(Decompositions.Vectors), Rows(turned));

    /// <summary>Enqueues E2 of each side.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="kept">m of each side.</param>
    /// <param name="turned">T W; overwritten.</param>
    /// <param name="e2">Receives E2.</param>
    public void Gradient(BatchStream stream, BatchView<int> kept, BatchView<float> turned, BatchView<float> e2)
    {
        Couple(stream, kept, turned);
        Factor(stream, kept, new CenterArguments { Data = turned });
        Multiply(stream, Rows(turned), Rows(Decompositions.Vectors), Rows(e2));
    }

    /// <summary>Enqueues <see cref="Coupled"/> of each side from T W; with a stopped basis there is none.</summary>
    public void Couple(BatchStream stream, BatchView<int> kept, BatchView<float> turned)
    {
        if (basisGradient == BasisGradient.Exact)
        {
            Multiply(stream, Columns(Decompositions.Vectors), Columns(turned), new CoupledResult { Data = Coupled, Decomposition = Decompositions.All(kept) });
        }
    }

    /// <summary>Enqueues F of each side.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="kept">m of each side.</param>
    /// <param name="turned">T W, which a stopped basis needs, and what it is less than; receives F, of an exact basis from <see cref="Coupled"/>.</param>
    public void Factor(BatchStream stream, BatchView<int> kept, CenterArguments turned)
    {
        if (basisGradient == BasisGradient.Exact)
        {
            Multiply(stream, Rows(Decompositions.Vectors), new SymmetrizedOperand { Data = Coupled, Size = size }, Rows(turned.Data)); // outer index of W: component
        }
        else
        {
            stream.Lines(BatchMeanGpu.CenterKernel, size, turned with { Decomposition = Decompositions.All(kept) }, sides);
        }
    }

    private StridedMatrix Rows(BatchView<float> data) => StridedMatrix.Rows(data, size, Square);

    private StridedMatrix Columns(BatchView<float> data) => StridedMatrix.Columns(data, size, Square);

    private void Multiply<TA, TB, TC>(BatchStream stream, TA a, TB b, TC c)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        stream.Multiply(sides, new GemmArguments<TA, TB, TC> { A = a, B = b, C = c, Rows = size, Columns = size, Depth = size });
}
