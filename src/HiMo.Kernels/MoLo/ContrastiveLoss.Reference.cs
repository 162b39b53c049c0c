// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

/// <summary>One direction of one branch: a mean cross entropy and what it gives to its operands.</summary>
/// <param name="Loss">In nats.</param>
/// <param name="GradQueries">dL/dq, B x d; empty without gradients.</param>
/// <param name="GradKeys">dL/dk, N x d; empty without gradients.</param>
/// <param name="GradLogitScale">dL/d ln s.</param>
internal sealed record CrossEntropyReference(double Loss, ReferenceMatrix GradQueries, ReferenceMatrix GradKeys, double GradLogitScale);

// One direction of InfoNCE with label smoothing, B queries against N keys; the target of query i is key offset + i.
//            S = s q k^T,  L = (1/B) sum_i [ logsumexp_j S_ij - (1-eps) S_i,t(i) - (eps/N) sum_j S_ij ]
// Source     HiMo-CLIP (arXiv:2511.06653), equations 2 and 3; label smoothing and the target offset as in the authors' code.
// Backward   D = (1/B) [ softmax(S) - (1-eps) 1_t - eps/N ],  dq = s D k,  dk = s D^T q,  dL/d ln s = sum_ij D_ij S_ij
// Shapes     q: B x d, k: N x d, 0 <= offset <= N - B.
// Precision  float64; the row's largest logit is taken out before exp. s up to e^300 stays finite.
internal static class ContrastiveLossReference
{
    public static CrossEntropyReference Run(
        ReferenceMatrix queries, ReferenceMatrix keys, int targetOffset, double scale, double labelSmoothing, bool gradients)
    {
        int rows = queries.Rows;
        int columns = keys.Rows;
        ReferenceMatrix cosines = queries * keys.T;
        ReferenceMatrix logits = scale * cosines;
        double loss = 0.0;
        double gradLogitScale = 0.0;
        double[] exponentials = new double[columns];
        for (int i = 0; i < rows; i++)
        {
            Span<double> row = logits.Row(i);
            int target = targetOffset + i;
            double largest = TensorPrimitives.Max<double>(row);
            double targetLogit = row[target];

            // Both terms relative to the largest logit, so that nothing large cancels.
            double below = 0.0;
            double sum = 0.0;
            for (int j = 0; j < columns; j++)
            {
                below += largest - row[j];
                exponentials[j] = Math.Exp(row[j] - largest);
                sum += exponentials[j];
            }

            loss += Math.Log(sum) + ((1.0 - labelSmoothing) * (largest - targetLogit)) + (labelSmoothing / columns * below);
            for (int j = 0; j < columns; j++)
            {
                row[j] = ((exponentials[j] / sum) - (j == target ? 1.0 - labelSmoothing : 0.0) - (labelSmoothing / columns)) / rows;
                gradLogitScale += scale * row[j] * cosines[i, j];
            }
        }

        return gradients
            ? new(loss / rows, scale * (logits * keys), scale * (logits.T * queries), gradLogitScale)
            : new(loss / rows, new(0, 0), new(0, 0), 0.0);
    }
}
