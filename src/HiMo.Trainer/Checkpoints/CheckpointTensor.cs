// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>A tensor under its OpenAI name: one stored tensor, several one above the other, or a transposed one.</summary>
/// <param name="Name">The OpenAI name.</param>
/// <param name="Parts">What the file stores, stacked along the first dimension.</param>
/// <param name="Transposed">Whether the file stores the transpose of a matrix.</param>
internal sealed record CheckpointTensor(string Name, IReadOnlyList<StoredTensor> Parts, bool Transposed = false)
{
    /// <summary>The shape under this name.</summary>
    public long[] Shape
    {
        get
        {
            long[] shape = [.. Parts[0].Shape];
            if (Parts.Count > 1)
            {
                shape[0] = Parts.Sum(part => part.Shape[0]);
            }

            if (Transposed)
            {
                Array.Reverse(shape);
            }

            return shape;
        }
    }

    /// <summary>The stored type.</summary>
    public ScalarType Type => Parts[0].Type;

    /// <summary>Reads the values, converting to the target's type.</summary>
    /// <param name="target">A tensor of <see cref="Shape"/>.</param>
    /// <exception cref="UserError">The file cannot be read.</exception>
    public void CopyTo(Tensor target)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor whole = Transposed ? target.t() : target;
        if (Parts.Count == 1)
        {
            Parts[0].CopyTo(whole);
            return;
        }

        long start = 0;
        foreach (StoredTensor part in Parts)
        {
            part.CopyTo(whole.narrow(0, start, part.Shape[0]));
            start += part.Shape[0];
        }
    }
}
