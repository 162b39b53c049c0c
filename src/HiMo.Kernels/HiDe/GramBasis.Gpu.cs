// SPDX-License-Identifier: Apache-2.0
// HiDe in N x N on the GPU, for N <= d: the decomposition of one side or two, and its derivative.
//            K' = H K H = W Lambda W^T,  M = W_m W_m^T + 1 1^T / N,  u' = M x                        HiMo-CLIP (arXiv:2511.06653), equation 1
// Backward   with T = G x^T for the gradient G of u', the rows get M* G + E2 x
//            exact:    M* = M,  E2 = 2 W Z W^T,  Z = coupling of W^T (T + T^T) W
//            stopped:  M* = 1 1^T / N,  E2 = H T W_m Lambda_m^{-1} W_m^T                               (W is centred, so H beside it changes nothing)
// Launches   M: 1 a side; E2: 4 a side, 3 stopped.
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

    /// <summary>Enqueues E2 of a side.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="side">The decomposition.</param>
    /// <param name="t">T; overwritten.</param>
    /// <param name="e2">Receives E2.</param>
    public void Gradient(BatchStream stream, Decomposition side, BatchView<float> t, BatchView<float> e2)
    {
        StridedMatrix vectors = StridedMatrix.Columns(side.Vectors, size);      // outer index: vector
        StridedMatrix components = StridedMatrix.Rows(side.Vectors, size);
        if (basisGradient == BasisGradient.Exact)
        {
            Multiply(stream, new SymmetrizedOperand { Data = t, Size = size }, vectors, StridedMatrix.Rows(e2, size));
            Multiply(stream, vectors, StridedMatrix.Columns(e2, size), new CoupledResult { Data = _temporary, Decomposition = side });
            Multiply(stream, components, StridedMatrix.Columns(_temporary, size), StridedMatrix.Rows(t, size));
            Multiply(stream, StridedMatrix.Rows(t, size), components, new DoubledResult { Data = e2, Size = size });
        }
        else
        {
            Multiply(stream, StridedMatrix.Rows(t, size), vectors, new InverseScaledResult { Data = _temporary, Decomposition = side });
            stream.Elements(BatchMeanGpu.CenterKernel, size, new CenterArguments { Data = _temporary, Rows = size, Columns = size });
            Multiply(stream, StridedMatrix.Rows(_temporary, size), components, StridedMatrix.Rows(e2, size));
        }
    }

    private void Multiply<TA, TB, TC>(BatchStream stream, TA a, TB b, TC c)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        stream.Multiply(1, new GemmArguments<TA, TB, TC> { A = a, B = b, C = c, Rows = size, Columns = size, Depth = size });
}
