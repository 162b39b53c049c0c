// SPDX-License-Identifier: Apache-2.0
// HiDe in N x N on the GPU, for N <= d: the decomposition of one side or two, and its derivative.
//            K' = H K H = W Lambda W^T,  M = W_m W_m^T + 1 1^T / N,  u' = M x                        HiMo-CLIP (arXiv:2511.06653), equation 1
// Backward   with T = G x^T for the gradient G of u', the rows get M* G + E2 x
//            exact:    M* = M,  E2 = 2 W Z W^T,  Z = Y + Y^T,  Y = coupling of W^T (T W)               (the coupling of i and j is that of j and i)
//            stopped:  M* = 1 1^T / N,  E2 = H (T W)_m Lambda_m^{-1} W_m^T                             (W is centred, so H beside it changes nothing)
//            E2 takes T W alone, so who has the factors of T turns the second by W, beside other products, and never makes T.
// Launches   M: 1; T W from T: 1; E2 from T W: 3, 2 stopped; of one side or two.
// Precision  the error of float32.
namespace HiMo.Kernels;

/// <summary>HiDe of some sides by their Gram matrices.</summary>
/// <param name="size">N.</param>
/// <param name="sides">Decompositions of a batch, 1 or 2.</param>
/// <param name="basisGradient">How <see cref="Gradient"/> treats the directions.</param>
/// <param name="settings">Of the eigensystem.</param>
internal sealed class GramBasisGpu(int size, int sides, BasisGradient basisGradient, GpuStepSettings settings)
{
    private BatchView<float> _temporary;

    /// <summary>The eigensystems of K, which may be of rows that are not centred.</summary>
    public DecompositionsGpu Decompositions { get; } = new(size, sides, isGram: true, settings);

    private long Square => (long)size * size;

    /// <summary>Takes memory.</summary>
    public void Layout(DeviceArena arena)
    {
        Decompositions.Layout(arena);
        _temporary = arena.EachBatch(sides * Square);
    }

    /// <summary>Enqueues M of each side.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="kept">m of each side.</param>
    /// <param name="result">Receives M; N x N a side, as every array below.</param>
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
        Decomposition all = Decompositions.All(kept);
        StridedMatrix components = Rows(all.Vectors);      // outer index: component
        if (basisGradient == BasisGradient.Exact)
        {
            Multiply(stream, Columns(all.Vectors), Columns(turned), new CoupledResult { Data = _temporary, Decomposition = all });
            Multiply(stream, components, new SymmetrizedOperand { Data = _temporary, Size = size }, Rows(turned));
            Multiply(stream, Rows(turned), components, new DoubledResult { Data = e2, Size = size });
        }
        else
        {
            stream.Elements(BatchMeanGpu.CenterKernel, size, new CenterArguments { Data = turned, Decomposition = all }, sides);
            Multiply(stream, Rows(turned), components, Rows(e2));
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
