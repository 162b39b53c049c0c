// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Runtime.InteropServices;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// AdamW in one pass over parameter, gradient and both moments:
/// p (1 - lr wd) - lr mhat / (sqrt(vhat) + eps), m and v exponential means of g and g^2, hats without their start at zero.
/// Parameters without gradient are left alone.
/// Source: Loshchilov and Hutter (arXiv:1711.05101), in torch's order of operations.
/// </summary>
/// <remarks>TorchSharp's own takes ten operators per parameter and does not hand out its moments, which exact resuming needs.</remarks>
internal sealed class FusedAdamW : IDisposable
{
    private const double Epsilon = 1e-8;

    private readonly (string Name, Parameter Value)[] _parameters;
    private readonly Tensor[] _means;
    private readonly Tensor[] _squares;
    private readonly double _beta1;
    private readonly double _beta2;
    private readonly double _weightDecay;
    private readonly WeightDecayPolicy _policy;

    /// <summary>Starts with moments of zero.</summary>
    /// <param name="parameters">Contiguous float32 parameters on the CPU by unique names.</param>
    /// <param name="beta1">Decay of the gradient's mean per step.</param>
    /// <param name="beta2">Decay of the squared gradient's mean per step.</param>
    /// <param name="weightDecay">Decoupled weight decay.</param>
    /// <param name="policy">Which parameters decay.</param>
    public FusedAdamW(IEnumerable<(string Name, Parameter Value)> parameters, double beta1, double beta2, double weightDecay, WeightDecayPolicy policy = WeightDecayPolicy.Matrices)
    {
        _parameters = [.. parameters];
        _means = [.. _parameters.Select(parameter => zeros(parameter.Value.shape).DetachFromDisposeScope())];
        _squares = [.. _parameters.Select(parameter => zeros(parameter.Value.shape).DetachFromDisposeScope())];
        (_beta1, _beta2, _weightDecay, _policy) = (beta1, beta2, weightDecay, policy);
    }

    /// <summary>Steps taken.</summary>
    public long Count { get; set; }

    /// <summary>The moments under the names that torch's optimizer state uses; written to them when a run is resumed.</summary>
    public IEnumerable<(string Name, Tensor Value)> Moments => _parameters
        .SelectMany((parameter, i) => new[] { ($"exp_avg.{parameter.Name}", _means[i]), ($"exp_avg_sq.{parameter.Name}", _squares[i]) });

    /// <summary>Euclidean norm of all gradients together, summed in double precision in a fixed order.</summary>
    public double GradientNorm()
    {
        double sum = 0.0;
        foreach ((_, Parameter value) in _parameters)
        {
            if (value.grad is { } gradient)
            {
                sum += SumOfSquares(Elements(gradient));
            }
        }

        return Math.Sqrt(sum);
    }

    /// <summary>One update from the gradients that the parameters hold.</summary>
    /// <param name="rate">Learning rate.</param>
    /// <param name="gradientScale">Multiplies every gradient; below 1 where the gradient is clipped.</param>
    public void Step(double rate, double gradientScale)
    {
        Count++;
        double correction1 = 1.0 - Math.Pow(_beta1, Count), correction2 = 1.0 - Math.Pow(_beta2, Count);
        for (int i = 0; i < _parameters.Length; i++)
        {
            Parameter value = _parameters[i].Value;
            if (value.grad is { } gradient)
            {
                Update update = new(
                    (float)gradientScale, (float)_beta1, (float)_beta2,
                    Keep: (float)(1.0 - (_policy == WeightDecayPolicy.All || value.dim() >= 2 ? rate * _weightDecay : 0.0)),
                    Rate: (float)(rate / correction1),
                    InverseRoot: (float)(1.0 / Math.Sqrt(correction2)));
                update.Apply(Elements(value), Elements(gradient), Elements(_means[i]), Elements(_squares[i]));
            }
        }
    }

    public void Dispose()
    {
        foreach (Tensor tensor in _means.Concat(_squares))
        {
            tensor.Dispose();
        }
    }

    private static Span<float> Elements(Tensor tensor) => MemoryMarshal.Cast<byte, float>(tensor.bytes);

    private static double SumOfSquares(ReadOnlySpan<float> values)
    {
        double sum = 0.0;
        foreach (float value in values)
        {
            sum += (double)value * value;
        }

        return sum;
    }

    private readonly record struct Update(float Scale, float Beta1, float Beta2, float Keep, float Rate, float InverseRoot)
    {
        public void Apply(Span<float> values, ReadOnlySpan<float> gradients, Span<float> means, Span<float> squares)
        {
            int width = Vector<float>.Count;
            int whole = values.Length - (values.Length % width);
            for (int i = 0; i < whole; i += width)
            {
                Vector<float> gradient = new Vector<float>(gradients[i..]) * Scale;
                Vector<float> mean = (new Vector<float>(means[i..]) * Beta1) + (gradient * (1.0f - Beta1));
                Vector<float> square = (new Vector<float>(squares[i..]) * Beta2) + (gradient * gradient * (1.0f - Beta2));
                Vector<float> root = (Vector.SquareRoot(square) * InverseRoot) + new Vector<float>((float)Epsilon);
                ((new Vector<float>(values[i..]) * Keep) - (mean * Rate / root)).CopyTo(values[i..]);
                mean.CopyTo(means[i..]);
                square.CopyTo(squares[i..]);
            }

            for (int i = whole; i < values.Length; i++)
            {
                float gradient = gradients[i] * Scale;
                means[i] = (means[i] * Beta1) + (gradient * (1.0f - Beta1));
                squares[i] = (squares[i] * Beta2) + (gradient * gradient * (1.0f - Beta2));
                float root = (MathF.Sqrt(squares[i]) * InverseRoot) + (float)Epsilon;
                values[i] = (values[i] * Keep) - (means[i] * Rate / root);
            }
        }
    }
}
