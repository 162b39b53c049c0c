// SPDX-License-Identifier: Apache-2.0
// The autograd node behind HiDeComponents: u' is computed before, its gradient in backward from a copy of the rows.
// Why a copy libtorch raises an error where a saved tensor was changed in place meanwhile, and an error in a managed backward ends
//            the process.
// Limits     BackwardResults.cs.
using static TorchSharp.torch;

namespace HiMo.Interop;

internal sealed class HiDeFunction : autograd.MultiTensorFunction<HiDeFunction>
{
    private const string Key = "backward";

    /// <inheritdoc/>
    public override string Name => nameof(HiDeFunction);

    /// <summary>The components as a function of the texts.</summary>
    /// <param name="texts">As the caller gave them.</param>
    /// <param name="components">u', without gradient.</param>
    /// <param name="rows">A row-major float32 copy of the texts that nobody changes.</param>
    /// <param name="backward">dL/dtexts from the rows and dL/du'; must not throw.</param>
    public static Tensor Link(Tensor texts, Tensor components, Tensor rows, Func<Tensor, Tensor, Tensor> backward) =>
        apply(texts, new Known(components, rows, backward))[0];

    /// <inheritdoc/>
    public override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
    {
        Known known = (Known)vars[^1];
        ctx.save_for_backward([known.Rows]);
        ctx.save_data(Key, known.Backward);
        return [known.Components];
    }

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs) =>
        BackwardResults.From(ctx.get_saved_variables(), grad_outputs, (Func<Tensor, Tensor, Tensor>)ctx.get_data(Key));

    private sealed record Known(Tensor Components, Tensor Rows, Func<Tensor, Tensor, Tensor> Backward);
}
