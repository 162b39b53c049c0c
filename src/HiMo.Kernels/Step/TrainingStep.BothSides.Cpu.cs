// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// The objective with both sides reconstructed (components = text_and_image): v' and u' as N x d matrices, logits in tiles.
//            global s (q X^T + b 1^T) as elsewhere;  component s v' u'^T, rows divided by their lengths first where cosines are asked for
// Backward   G_v = D_row u',  G_u = D_col^T v',  each through its own lengths (L2Normalize) and its own basis (HiDe)
// Source     HiMo-CLIP (arXiv:2511.06653), table 5.
public sealed partial class TrainingStep
{
    private unsafe void RunBothSides(ref Frame frame)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        bool split = !_options.GatherWithGrad;
        BeginProgress(frame);
        HiDeGroup texts = new() { Batch = frame.Batch };
        HiDeGroup images = HiDeGroup.Center(_pool, _workspace, frame.Queries, n, d, frame.QueryInverse);
        Reconstruction left = Reconstruct(frame, ref images);
        Reconstruction right = Reconstruct(frame, ref texts);
        frame.Components = texts.Components;
        frame.OtherComponents = images.Components;

        LogitBranch component = new()
        {
            Queries = left.Rows, QueryStride = d, Keys = right.Rows, KeyStride = d, Width = d, GradStride = d, Progress = _progress,
            Loss = Begin(frame, _options.Lambda, null, null),
        };
        component.TakeTile(_workspace, split && frame.WantsGradient);
        frame.ComponentLoss = Half(component.Forward(_pool, columnDirection: true));
        LogitBranch global = new()
        {
            Queries = frame.UnitQueries, QueryStride = d, Keys = frame.Centered, KeyStride = d, Width = d, GradStride = d, Progress = _progress,
            GradQueries = frame.GradQueries, GradKeys = frame.GradKeys,
        };
        if (HasGlobal)
        {
            global.Loss = Begin(frame, _options.GlobalWeight, frame.RelativeBias, null);
            global.TakeTile(_workspace, split && frame.WantsGradient);
            frame.GlobalLoss = Half(global.Forward(_pool, columnDirection: true));
        }

        if (frame.WantsGradient)
        {
            if (HasGlobal)
            {
                global.Backward(_pool);
            }

            component.GradQueries = frame.GradQueries == null ? null : _workspace.Floats(n, d);
            component.GradKeys = frame.GradKeys == null ? null : _workspace.Floats(n, d);
            component.Backward(_pool);
            if (frame.GradQueries != null)
            {
                frame.QueryConstant = Back(frame, ref images, left, component.GradQueries, frame.GradQueries);
            }

            if (frame.GradKeys != null)
            {
                frame.KeyConstant = Back(frame, ref texts, right, component.GradKeys, frame.GradKeys);
            }
        }

        frame.Global = global.Loss;
        frame.Component = component.Loss;
    }

    private unsafe Reconstruction Reconstruct(in Frame frame, ref HiDeGroup side)
    {
        Reconstruction result = new() { Raw = _workspace.Floats(frame.Rows, frame.Columns) };
        side.Forward(_pool, _workspace, _workspace, _axes, _options.Tau, IsExact && frame.WantsGradient, result.Raw);
        result.Rows = result.Raw;
        if (IsCosine)
        {
            result.Rows = _workspace.Floats(frame.Rows, frame.Columns);
            result.Inverse = _workspace.Doubles(frame.Rows);
            _ = L2NormalizeCpu.Forward(_pool, result.Raw, frame.Rows, frame.Columns, result.Inverse, result.Rows);
        }

        return result;
    }

    private unsafe double* Back(in Frame frame, ref HiDeGroup side, in Reconstruction reconstruction, float* grad, float* gradUnit)
    {
        if (IsCosine)
        {
            L2NormalizeCpu.Backward(
                _pool, reconstruction.Raw, frame.Rows, frame.Columns, reconstruction.Inverse, 1.0, grad, null, null, null, frame.Scratch);
        }

        return side.Backward(_pool, _workspace, grad, _options.BasisGradient, HasGlobal ? 1.0f : 0.0f, gradUnit);
    }

    /// <summary>A side's component operand: u' as it is, and as it enters the logits.</summary>
    private unsafe struct Reconstruction
    {
        public float* Raw;
        public float* Rows;
        public double* Inverse;            // cosine only
    }
}
