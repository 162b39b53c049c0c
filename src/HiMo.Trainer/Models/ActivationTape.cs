// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Activation checkpointing: of each segment of a network only the input is kept; <see cref="Backward"/> computes the segment again, with what
/// its derivative needs, when its turn comes. TorchSharp lacks torch.utils.checkpoint. This is a list of segments beside autograd instead of a
/// node inside it, because an exception inside a managed node ends the process. Operations and the order of sums are those of the plain
/// computation, so gradients are the same to the last bit. Source: Chen et al. (arXiv:1604.06174).
/// </summary>
/// <remarks>After the loss's own backward pass, <see cref="Backward"/> must be called, or <see cref="Clear"/> where there is none.</remarks>
internal sealed class ActivationTape
{
    private readonly List<(Func<Tensor, Tensor>? Segment, Tensor Input, Tensor Output)> _entries = [];

    /// <summary>A segment's output, cut off from its input. It belongs to the tape, not to a dispose scope.</summary>
    /// <param name="segment">Computes the output; is called again in <see cref="Backward"/>, and must give the same.</param>
    /// <param name="input">Its input.</param>
    public Tensor Run(Func<Tensor, Tensor> segment, Tensor input)
    {
        if (input.requires_grad && !input.is_leaf)
        {
            Tensor cut = Leaf(input); // an input with a history of its own: Backward hands the gradient on to it
            _entries.Add((null, input.alias().DetachFromDisposeScope(), cut));
            input = cut;
        }
        else if (!input.requires_grad)
        {
            input = input.detach().DetachFromDisposeScope();
        }

        using (no_grad())
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor output = Leaf(segment(input));
            _entries.Add((segment, input, output));
            return output;
        }
    }

    /// <summary>Takes the gradients that the outputs have received back through all segments, the last one first.</summary>
    public void Backward()
    {
        for (int i = _entries.Count - 1; i >= 0; i--)
        {
            using DisposeScope scope = NewDisposeScope();
            (Func<Tensor, Tensor>? segment, Tensor input, Tensor output) = _entries[i];
            if (output.grad is { } gradient)
            {
                autograd.backward([segment is null ? input : segment(input)], [gradient]);
            }

            output.Dispose();
            if (segment is null || !input.requires_grad)
            {
                input.Dispose();
            }
        }

        _entries.Clear();
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        foreach ((_, Tensor input, Tensor output) in _entries)
        {
            input.Dispose();
            output.Dispose();
        }

        _entries.Clear();
    }

    private static Tensor Leaf(Tensor value)
    {
        Tensor leaf = value.detach().DetachFromDisposeScope();
        leaf.requires_grad = true;
        return leaf;
    }
}
