// SPDX-License-Identifier: Apache-2.0
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>AdamW of a run: <see cref="FusedAdamW"/> on the CPU, <see cref="TensorAdamW"/> on a GPU. Both keep the same state under the same names.</summary>
internal interface IOptimizer : IDisposable
{
    /// <summary>Updates so far.</summary>
    long Count { get; set; }

    /// <summary>The moments under the names that torch's optimizer state uses, each in its parameter's shape; written to them when a run is resumed.</summary>
    IEnumerable<(string Name, Tensor Value)> Moments { get; }

    /// <summary>Euclidean norm of all gradients together, summed in double precision; waits for a GPU.</summary>
    double GradientNorm();

    /// <summary>One update from the gradients that the parameters hold; a parameter without one is left alone.</summary>
    /// <param name="rate">Learning rate.</param>
    /// <param name="gradientScale">Multiplies every gradient; below 1 where the gradient is clipped.</param>
    void Step(double rate, double gradientScale);
}
