// SPDX-License-Identifier: Apache-2.0
// HiDe in N x N on the GPU, for N <= d: the decomposition of one side or two, and its derivative.
//            K' = H K H = W Lambda W^T,  M = W_m W_m^T + 1 1^T / N,  u' = M x                        HiMo-CLIP (arXiv:2511.06653), equation 1
// Backward   with T = G x^T for the gradient G of u', the rows get M* G + E2 x
//            exact:    M* = M,  E2 = 2 W Z W^T,  Z = Y + Y^T,  Y = coupling of W^T (T W)               (the coupling of i and j is that of j and i)
//            stopped:  M* = 1 1^T / N,  E2 = H (T W)_m Lambda_m^{-1} W_m^T                             (W is centred, so H beside it changes nothing)
//            E2 takes T W alone, so who has the factors of T turns the second by W, beside other products, and never makes T.
// Launches   M: 1 a side; T W from T: 1; E2 from T W: 3 a side, 2 stopped.
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

    /// <summary>Takes memory.</summary>
    public void Layout(DeviceArena arena)
    {
        Decompositions.Layout(arena);
        _temporary = arena.EachBatch((long)size * size);
    }

    /// <summary>Enqueues M of a side.</summary>
    public void Reconstruction(BatchStream stream, Decomposition side, BatchView<float> result)
    {
        KeptVectorsOperand kept = new() { Decomposition = side };
        Multiply(stream, kept, kept, new MeanAddedResult { Data = result, Size = size });
    }

    /// <summary>Enqueues T W of a side.</summary>
    public void Turn(BatchStream stream, Decomposition side, BatchView<float> t, BatchView<float> turned) =>
        Multiply(stream, StridedMatrix.Rows(t, size), StridedMatrix.Columns(side.Vectors, size), StridedMatrix.Rows(turned, size));

    /// <summary>Enqueues E2 of a side.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="side">The decomposition.</param>
    /// <param name="turned">T W; overwritten.</param>
    /// <param name="e2">Receives E2.</param>
    public void Gradient(BatchStream stream, Decomposition side, BatchView<float> turned, BatchView<float> e2)
    {
        StridedMatrix components = StridedMatrix.Rows(side.Vectors, size);      // outer index: component
        if (basisGradient == BasisGradient.Exact)
        {
            StridedMatrix vectors = StridedMatrix.Columns(side.Vectors, size);
            Multiply(stream, vectors, StridedMatrix.Columns(turned, size), new CoupledResult { Data = _temporary, Decomposition = side });
            Multiply(stream, components, new SymmetrizedOperand { Data = _temporary, Size = size }, StridedMatrix.Rows(turned, size));
            Multiply(stream, StridedMatrix.Rows(turned, size), components, new DoubledResult { Data = e2, Size = size });
        }
        else
        {
            stream.Elements(BatchMeanGpu.CenterKernel, size, new CenterArguments { Data = turned, Decomposition = side });
            Multiply(stream, StridedMatrix.Rows(turned, size), components, StridedMatrix.Rows(e2, size));
        }
    }

    private void Multiply<TA, TB, TC>(BatchStream stream, TA a, TB b, TC c)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        stream.Multiply(1, new GemmArguments<TA, TB, TC> { A = a, B = b, C = c, Rows = size, Columns = size, Depth = size });
}
