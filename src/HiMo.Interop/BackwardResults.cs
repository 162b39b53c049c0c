// SPDX-License-Identifier: Apache-2.0
// What every custom backward here has to observe.
// Memory     Native code takes what backward returns after it has returned, and nobody disposes it: the tensors wait for the
//            thread's next backward.
// Limits     Differentiable once. Gradient mode is on in backward only under create_graph, that is for a second differentiation,
//            which would silently take what was computed outside of autograd for constants. A gradient of the wrong shape makes
//            libtorch refuse with an error of its own; a managed exception would end the process.
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Interop;

internal static class BackwardResults
{
    [ThreadStatic]
    private static List<Tensor?>? s_waiting;

    /// <summary>Turns what backward received into what it returns, or into the refusal of a second differentiation.</summary>
    /// <param name="known">What was saved; disposed of here. Null where an input gets no gradient.</param>
    /// <param name="outputGradients">What backward received; disposed of here.</param>
    /// <param name="gradient">One input's gradient from what was saved for it and the output's gradient; must not throw.</param>
    public static List<Tensor> From(List<Tensor> known, List<Tensor> outputGradients, Func<Tensor, Tensor, Tensor> gradient)
    {
        s_waiting?.ForEach(tensor => tensor?.Dispose());
        bool refused = is_grad_enabled();
        if (refused)
        {
            Console.Error.WriteLine(
                "HiMo.Interop: only one differentiation is possible; call backward or grad with create_graph: false. libtorch's error follows.");
        }

        using (DisposeScope scope = NewDisposeScope())
        {
            s_waiting = [.. known.Select(saved => saved is null ? null : (refused ? zeros(0) : gradient(saved, outputGradients[0])).DetachFromDisposeScope())];
        }

        known.ForEach(saved => saved?.Dispose());
        outputGradients.ForEach(tensor => tensor.Dispose());
        return [.. s_waiting.Select(tensor => tensor!), null!];     // no gradient for the argument that is no tensor
    }
}
