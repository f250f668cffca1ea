import { z } from 'zod';

export const rowSchema = z.object({
  id: z.string(),
  name: z.string().min(1),
  amount: z.number().int(),
  status: z.enum(['open', 'active', 'done']),
  createdAt: z.date(),
});

export type Row = z.infer<typeof rowSchema>;
