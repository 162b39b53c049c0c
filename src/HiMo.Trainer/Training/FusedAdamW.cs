// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Runtime.InteropServices;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// AdamW in one pass over parameter, gradient and both moments, on several threads:
/// p (1 - lr wd) - lr mhat / (sqrt(vhat) + eps), m and v exponential means of g and g^2, hats without their start at zero.
/// Parameters without gradient are left alone.
/// Source: Loshchilov and Hutter (arXiv:1711.05101), in torch's order of operations.
/// </summary>
/// <remarks>TorchSharp's own takes ten operators per parameter and does not hand out its moments, which exact resuming needs.</remarks>
internal sealed class FusedAdamW : IOptimizer
{
    /// <summary>Added to the root of the second moment.</summary>
    internal const double Epsilon = 1e-8;

    private const int PieceElements = 1 << 16;

    private readonly (string Name, Parameter Value)[] _parameters;
    private readonly Tensor[] _means;
    private readonly Tensor[] _squares;
    private readonly double _beta1;
    private readonly double _beta2;
    private readonly double _weightDecay;
    private readonly WeightDecayPolicy _policy;
    private readonly (int Parameter, int First, int Count)[] _pieces; // elements of a parameter that one thread updates at a time

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
        _pieces =
        [
            .. from parameter in Enumerable.Range(0, _parameters.Length)
               let count = (int)_parameters[parameter].Value.numel()
               from piece in Enumerable.Range(0, (count + PieceElements - 1) / PieceElements)
               select (parameter, piece * PieceElements, Math.Min(PieceElements, count - (piece * PieceElements))),
        ];
        (_beta1, _beta2, _weightDecay, _policy) = (beta1, beta2, weightDecay, policy);
    }

    /// <summary>Threads; 0 takes one per processor. The result does not depend on it.</summary>
    public int Threads { get; init; }

    /// <inheritdoc/>
    public long Count { get; set; }

    /// <inheritdoc/>
    public IEnumerable<(string Name, Tensor Value)> Moments => Named(_parameters, _means, _squares);

    /// <inheritdoc/>
    /// <remarks>In an order that the threads do not change.</remarks>
    public double GradientNorm()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor?[] gradients = Gradients();
        double[] sums = new double[_pieces.Length];
        ForEachPiece(piece =>
        {
            (int parameter, int first, int count) = _pieces[piece];
            sums[piece] = gradients[parameter] is { } gradient ? SumOfSquares(Elements(gradient).Slice(first, count)) : 0.0;
        });
        return Math.Sqrt(sums.Sum());
    }

    /// <inheritdoc/>
    public void Step(double rate, double gradientScale)
    {
        Count++;
        using DisposeScope scope = NewDisposeScope();
        double correction1 = 1.0 - Math.Pow(_beta1, Count), correction2 = 1.0 - Math.Pow(_beta2, Count);
        Tensor?[] gradients = Gradients();
        Update[] updates = [.. _parameters.Select(parameter => new Update(
            (float)gradientScale, (float)_beta1, (float)_beta2,
            Keep: (float)(1.0 - (_policy == WeightDecayPolicy.All || parameter.Value.dim() >= 2 ? rate * _weightDecay : 0.0)),
            Rate: (float)(rate / correction1),
            InverseRoot: (float)(1.0 / Math.Sqrt(correction2))))];
        ForEachPiece(piece =>
        {
            (int parameter, int first, int count) = _pieces[piece];
            if (gradients[parameter] is { } gradient)
            {
                updates[parameter].Apply(
                    Elements(_parameters[parameter].Value).Slice(first, count), Elements(gradient).Slice(first, count),
                    Elements(_means[parameter]).Slice(first, count), Elements(_squares[parameter]).Slice(first, count));
            }
        });
    }

    public void Dispose()
    {
        foreach (Tensor tensor in _means.Concat(_squares))
        {
            tensor.Dispose();
        }
    }

    /// <summary>Moments under the names of <see cref="IOptimizer.Moments"/>.</summary>
    internal static IEnumerable<(string Name, Tensor Value)> Named((string Name, Parameter Value)[] parameters, Tensor[] means, Tensor[] squares) =>
        parameters.SelectMany((parameter, i) => new[] { ($"exp_avg.{parameter.Name}", means[i]), ($"exp_avg_sq.{parameter.Name}", squares[i]) });

    private static Span<float> Elements(Tensor tensor) => MemoryMarshal.Cast<byte, float>(tensor.bytes);

    private static double SumOfSquares(ReadOnlySpan<float> values)
    {
        int width = Vector<float>.Count;
        int whole = values.Length - (values.Length % width);
        Vector<double> sums = Vector<double>.Zero;
        for (int i = 0; i < whole; i += width)
        {
            Vector.Widen(new Vector<float>(values[i..]), out Vector<double> low, out Vector<double> high);
            sums += (low * low) + (high * high);
        }

        double sum = Vector.Sum(sums);
        foreach (float value in values[whole..])
        {
            sum += (double)value * value;
        }

        return sum;
    }

    /// <summary>The gradients, each a new handle that belongs to the current dispose scope.</summary>
    private Tensor?[] Gradients() => [.. _parameters.Select(parameter => parameter.Value.grad)];

    private void ForEachPiece(Action<int> act) =>
        _ = Parallel.For(0, _pieces.Length, new ParallelOptions { MaxDegreeOfParallelism = Threads > 0 ? Threads : Environment.ProcessorCount }, act);

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
