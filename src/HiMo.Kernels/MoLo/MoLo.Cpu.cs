// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// The dual contrastive loss on float32 views, B local rows against N gathered ones: four cross entropies in one direction each.
// Source     HiMo-CLIP (arXiv:2511.06653), equations 2 to 4. The caller has checked every argument.
// Backward   The local operand is the first of every product, the gathered one the second; with cosine a reconstructed operand goes
//            through its length as L2Normalize does. Gradients are carried without s and take it at the end.
// Memory     logits a tile at a time; gradients of one cross entropy; unit rows of reconstructed operands with cosine.
internal sealed unsafe class MoLoCpu(MoLoOptions options, int threads) : IDisposable
{
    private readonly WorkerPool _pool = new(threads);
    private readonly Workspace _workspace = new();
    private double _scale;
    private double* _scratch;

    private bool IsCosine => options.ComponentNormalization == ComponentNormalization.Cosine;

    public MoLoResult Run(
        MoLoFeatures local, MoLoFeatures gathered, int targetOffset, double logitScale, MoLoGradients gradLocal, MoLoGradients gradGathered)
    {
        _workspace.Reset();
        _scale = Math.Exp(logitScale);
        _scratch = _workspace.Doubles(_pool.Threads, local.Images.Columns);
        bool wantsGradient = IsWanted(gradLocal) || IsWanted(gradGathered);
        Clear(gradLocal);
        Clear(gradGathered);
        Shape shape = new(local.Images.Rows, gathered.Images.Rows, local.Images.Columns, targetOffset, wantsGradient);
        fixed (float* images = local.Images.Elements, texts = local.Texts.Elements, componentImages = local.ComponentImages.Elements, componentTexts = local.ComponentTexts.Elements)
        fixed (float* allImages = gathered.Images.Elements, allTexts = gathered.Texts.Elements, allComponentImages = gathered.ComponentImages.Elements, allComponentTexts = gathered.ComponentTexts.Elements)
        fixed (float* gradImages = gradLocal.Images.Elements, gradTexts = gradLocal.Texts.Elements, gradComponentImages = gradLocal.ComponentImages.Elements, gradComponentTexts = gradLocal.ComponentTexts.Elements)
        fixed (float* gradAllImages = gradGathered.Images.Elements, gradAllTexts = gradGathered.Texts.Elements, gradAllComponentImages = gradGathered.ComponentImages.Elements, gradAllComponentTexts = gradGathered.ComponentTexts.Elements)
        {
            Branch global = default;
            Branch component = default;
            if (options.GlobalWeight != 0.0)
            {
                Operand localImages = new(images, gradImages);
                Operand localTexts = new(texts, gradTexts);
                Operand gatheredImages = new(allImages, gradAllImages);
                Operand gatheredTexts = new(allTexts, gradAllTexts);
                global = RunBranch(shape, options.GlobalWeight, localImages, localTexts, gatheredImages, gatheredTexts);
            }

            if (options.Lambda != 0.0)
            {
                Operand localImages = options.ReconstructsImages ? Reconstructed(componentImages, gradComponentImages, shape.Local, shape.Columns) : new(images, gradImages);
                Operand localTexts = options.ReconstructsTexts ? Reconstructed(componentTexts, gradComponentTexts, shape.Local, shape.Columns) : new(texts, gradTexts);
                Operand gatheredImages = options.ReconstructsImages ? Reconstructed(allComponentImages, gradAllComponentImages, shape.Gathered, shape.Columns) : new(allImages, gradAllImages);
                Operand gatheredTexts = options.ReconstructsTexts ? Reconstructed(allComponentTexts, gradAllComponentTexts, shape.Gathered, shape.Columns) : new(allTexts, gradAllTexts);
                component = RunBranch(shape, options.Lambda, localImages, localTexts, gatheredImages, gatheredTexts);
            }

            return new MoLoResult
            {
                Loss = (options.GlobalWeight * global.Loss) + (options.Lambda * component.Loss),
                Global = global.Loss,
                Component = component.Loss,
                M = 0,
                ExplainedVariance = 0.0,
                GradLogitScale = global.GradLogitScale + component.GradLogitScale,
            };
        }
    }

    public void Dispose()
    {
        _workspace.Dispose();
        _pool.Dispose();
    }

    private static bool IsWanted(MoLoGradients gradients) =>
        !gradients.Images.IsEmpty || !gradients.Texts.IsEmpty || !gradients.ComponentImages.IsEmpty || !gradients.ComponentTexts.IsEmpty;

    private static void Clear(MoLoGradients gradients)
    {
        gradients.Images.Elements.Clear();
        gradients.Texts.Elements.Clear();
        gradients.ComponentImages.Elements.Clear();
        gradients.ComponentTexts.Elements.Clear();
    }

    private Operand Reconstructed(float* raw, float* grad, int rows, int columns)
    {
        if (!IsCosine)
        {
            return new(raw, grad);
        }

        float* unit = _workspace.Floats(rows, columns);
        double* inverse = _workspace.Doubles(rows);
        _ = L2NormalizeCpu.Forward(_pool, raw, rows, columns, inverse, unit);
        return new(unit, grad) { Raw = raw, Inverse = inverse };
    }

    private Branch RunBranch(in Shape shape, double weight, in Operand images, in Operand texts, in Operand allImages, in Operand allTexts)
    {
        Branch imagesFirst = RunDirection(shape, weight, images, allTexts);
        Branch textsFirst = RunDirection(shape, weight, texts, allImages);
        return new(0.5 * (imagesFirst.Loss + textsFirst.Loss), imagesFirst.GradLogitScale + textsFirst.GradLogitScale);
    }

    private Branch RunDirection(in Shape shape, double weight, in Operand queries, in Operand keys)
    {
        int d = shape.Columns;
        LogitBranch branch = new()
        {
            Queries = queries.Rows, QueryStride = d, Keys = keys.Rows, KeyStride = d, Width = d, GradStride = d,
            Loss = ContrastiveLossCpu.Begin(_workspace, shape.Local, shape.Gathered, shape.TargetOffset, _scale, options.LabelSmoothing, null, null),
        };
        branch.Loss.RowWeight = (float)(weight / (2.0 * shape.Local));
        branch.TakeTile(_workspace, split: false);
        double loss = branch.Forward(_pool, columnDirection: false).Rows;
        if (!shape.WantsGradient)
        {
            return new(loss, 0.0);
        }

        bool keysMove = keys.Grad != null && options.GatherWithGrad;
        branch.GradQueries = queries.Grad == null ? null : _workspace.Floats(shape.Local, d);
        branch.GradKeys = keysMove ? _workspace.Floats(shape.Gathered, d) : null;
        branch.Backward(_pool);
        if (queries.Grad != null)
        {
            Add(queries, branch.GradQueries, shape.Local, d);
        }

        if (keysMove)
        {
            Add(keys, branch.GradKeys, shape.Gathered, d);
        }

        return new(loss, branch.Loss.ScaleGradient());
    }

    // The operand's gradient += s grad, through the operand's length where it was divided by it.
    private void Add(in Operand operand, float* grad, int rows, int columns)
    {
        if (operand.Inverse != null)
        {
            L2NormalizeCpu.Backward(_pool, operand.Raw, rows, columns, operand.Inverse, _scale, grad, null, null, null, _scratch);
        }

        float factor = operand.Inverse != null ? 1.0f : (float)_scale;
        for (int i = 0; i < rows; i++)
        {
            Span<float> target = new(operand.Grad + ((nint)i * columns), columns);
            TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(grad + ((nint)i * columns), columns), factor, target, target);
            TensorPrimitives.Clamp(target, -float.MaxValue, float.MaxValue, target);
        }
    }

    private readonly record struct Shape(int Local, int Gathered, int Columns, int TargetOffset, bool WantsGradient);

    private readonly record struct Branch(double Loss, double GradLogitScale);

    /// <summary>Rows as they enter the logits, and where their gradient goes; null: not wanted.</summary>
    private readonly struct Operand(float* rows, float* grad)
    {
        public float* Rows { get; } = rows;

        public float* Grad { get; } = grad;

        /// <summary>The rows before they were divided by their lengths; null where they were not.</summary>
        public float* Raw { get; init; }

        public double* Inverse { get; init; }
    }
}
