// SPDX-License-Identifier: Apache-2.0
// The autograd node behind MoLoLoss: a scalar whose gradients are known already, so that backward only scales them.
// Shapes     loss: scalar; gradients: those of images (N x d), texts (N x d) and logit scale, float32; null where frozen.
// Why        An exception in a managed backward, or an error inside it, ends the process. All that can fail happens before.
// Memory     Native code reads what backward returns after it has returned, and nobody disposes it: the tensors wait for the
//            thread's next backward. What is saved for backward is freed with the graph.
//            A loss that nobody disposes keeps its gradients until a collection, and the collector does not see native memory:
//            undisposed losses are counted, and enough of them ask for one. Where losses are disposed this costs nothing.
// Limits     Once differentiable: see backward.
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Interop;

internal sealed class MoLoFunction : autograd.MultiTensorFunction<MoLoFunction>
{
    private const long UndisposedLimit = 32L << 20;

    [ThreadStatic]
    private static List<Tensor?>? s_returned;

    [ThreadStatic]
    private static WeakReference<Tensor>? s_previousLoss;

    [ThreadStatic]
    private static long s_undisposedBytes;

    /// <inheritdoc/>
    public override string Name => nameof(MoLoFunction);

    /// <summary>The loss as a function of its inputs. Belongs to the caller's dispose scope.</summary>
    /// <param name="images">Images as the caller gave them.</param>
    /// <param name="texts">Texts as the caller gave them.</param>
    /// <param name="logitScale">Logit scale as the caller gave it, one element.</param>
    /// <param name="loss">The value, without gradient.</param>
    /// <param name="gradients">dL/dimages, dL/dtexts and dL/dlogitScale in the inputs' shapes; null where not wanted.</param>
    public static Tensor Link(Tensor images, Tensor texts, Tensor logitScale, Tensor loss, Tensor?[] gradients)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor linked = apply(images, texts, logitScale, new Known(loss, gradients))[0].MoveToOuterDisposeScope();
        CountUndisposed(linked, gradients.Sum(gradient => gradient?.numel() ?? 0) * sizeof(float));
        return linked;
    }

    private static void CountUndisposed(Tensor loss, long bytes)
    {
        if (s_previousLoss is { } previous && previous.TryGetTarget(out Tensor? tensor) && !tensor.IsInvalid)
        {
            s_undisposedBytes += bytes;
        }

        if (s_undisposedBytes > UndisposedLimit)
        {
            s_undisposedBytes = 0;
            GC.Collect();
        }

        s_previousLoss = new WeakReference<Tensor>(loss);
    }

    /// <inheritdoc/>
    public override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
    {
        Known known = (Known)vars[^1];
        ctx.save_for_backward([.. known.Gradients.Select(gradient => gradient!)]);       // null is allowed, whatever the annotation says
        return [known.Loss];
    }

    /// <summary>Scales the known gradients.</summary>
    /// <remarks>Gradient mode is on here only under create_graph, that is for a second differentiation. The known gradients
    /// are constants, so it would be silently wrong; a gradient of the wrong shape makes libtorch refuse it with an error.</remarks>
    public override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs)
    {
        s_returned?.ForEach(tensor => tensor?.Dispose());
        List<Tensor?> saved = ctx.get_saved_variables()!;
        Tensor outer = grad_outputs[0];
        if (is_grad_enabled())
        {
            Console.Error.WriteLine(
                "HiMo.Interop: the loss can be differentiated once only; call backward or grad with create_graph: false. libtorch's error follows.");
            s_returned = [.. saved.Select(gradient => gradient is null ? null : zeros(0).DetachFromDisposeScope())];
        }
        else
        {
            s_returned = [.. saved.Select(gradient => gradient is null ? null : (gradient * outer).DetachFromDisposeScope())];
        }

        saved.ForEach(tensor => tensor?.Dispose());
        grad_outputs.ForEach(tensor => tensor.Dispose());
        return [.. s_returned.Select(gradient => gradient!), null!];      // no gradient for Known
    }

    private sealed record Known(Tensor Loss, Tensor?[] Gradients);
}
