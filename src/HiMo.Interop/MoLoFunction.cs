// SPDX-License-Identifier: Apache-2.0
// The autograd node behind MoLoLoss: a scalar whose gradients are known already, so that backward only scales them.
// Shapes     loss: scalar; gradients: those of the inputs, float32, in their shapes; null where frozen.
// Why        An exception in a managed backward, or an error inside it, ends the process. All that can fail happens before.
// Memory     What is saved for backward is freed with the graph. A loss that nobody disposes keeps its gradients until a
//            collection, and the collector does not see native memory: undisposed losses are counted, and enough of them ask for
//            one. Where losses are disposed this costs nothing.
// Limits     BackwardResults.cs.
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Interop;

internal sealed class MoLoFunction : autograd.MultiTensorFunction<MoLoFunction>
{
    private const long UndisposedLimit = 32L << 20;
    private const long OwnThreadLimit = 1L << 18;         // 50 microseconds; the steps beyond take tens of milliseconds

    [ThreadStatic]
    private static WeakReference<Tensor>? s_previousLoss;

    [ThreadStatic]
    private static long s_undisposedBytes;

    /// <inheritdoc/>
    public override string Name => nameof(MoLoFunction);

    /// <summary>The loss as a function of its inputs. Belongs to the caller's dispose scope.</summary>
    /// <param name="inputs">The tensors as the caller of the loss gave them.</param>
    /// <param name="loss">The value, without gradient.</param>
    /// <param name="gradients">One for each input, in its shape; null where not wanted.</param>
    public static Tensor Link(Tensor[] inputs, Tensor loss, Tensor?[] gradients)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor linked = apply([.. inputs, new Known(loss, gradients)])[0].MoveToOuterDisposeScope();
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

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs) =>
        BackwardResults.From(ctx.get_saved_variables(), grad_outputs, Scale);

    // Gradients of a short step on this thread: libtorch's product would wake OpenMP's threads, which wait busily for some milliseconds
    // afterwards, on the processors that the next step's workers want.
    private static Tensor Scale(Tensor known, Tensor outer)
    {
        bool isHere = known.device_type == TorchSharp.DeviceType.CPU;
        if (!isHere || known.dim() != 2 || known.dtype != ScalarType.Float32 || known.numel() > OwnThreadLimit)
        {
            return known * outer;
        }

        Tensor scaled = empty_like(known);
        System.Numerics.Tensors.TensorPrimitives.Multiply(TensorMemory.Read(known).Elements, outer.ToSingle(), TensorMemory.Write(scaled).Elements);
        return scaled;
    }

    private sealed record Known(Tensor Loss, Tensor?[] Gradients);
}
