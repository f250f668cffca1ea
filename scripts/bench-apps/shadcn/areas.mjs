// The areas of the shadcn-like app: twelve of them, six modules each, in src/areas.

const AREAS = [
  ['overview', 'Overview', 'LayoutDashboard', 'Area'],
  ['deals', 'Deals', 'Handshake', 'Bar'],
  ['contacts', 'Contacts', 'Contact', 'Line'],
  ['companies', 'Companies', 'Building2', 'Bar'],
  ['projects', 'Projects', 'FolderKanban', 'Area'],
  ['calendar', 'Agenda', 'CalendarDays', 'Line'],
  ['inbox', 'Inbox', 'Mail', 'Bar'],
  ['files', 'Files', 'Files', 'Area'],
  ['billing', 'Billing', 'CreditCard', 'Line'],
  ['team', 'Team', 'Users', 'Bar'],
  ['goals', 'Goals', 'Target', 'Area'],
  ['settings', 'Settings', 'Settings2', 'Line'],
];

const page = (id, name, icon) => `import { ${icon} } from 'lucide-react';
import { Badge } from '@/components/ui/badge';
import { Card, CardContent, CardDescription, CardHeader, CardTitle } from '@/components/ui/card';
import { Skeleton } from '@/components/ui/skeleton';
import { Tabs, TabsContent, TabsList, TabsTrigger } from '@/components/ui/tabs';
import { ${name}Chart } from './${name}Chart';
import { ${name}Dialog } from './${name}Dialog';
import { ${name}Filters } from './${name}Filters';
import { ${name}Table } from './${name}Table';
import { use${name} } from './use${name}';

export default function ${name}Page() {
  const { rows, months, pending, search, setSearch } = use${name}();
  if (pending) return <Skeleton className="h-64 w-full" />;
  return (
    <div className="space-y-6">
      <header className="flex items-center justify-between">
        <div className="flex items-center gap-3">
          <${icon} className="h-6 w-6 text-primary" />
          <div>
            <h1 className="text-2xl font-bold tracking-tight">${name}</h1>
            <p className="text-sm text-muted-foreground">${id === 'overview' ? 'edition 0' : `All about ${id}`}</p>
          </div>
          <Badge tone="good">{rows.length}</Badge>
        </div>
        <${name}Dialog />
      </header>
      <Card>
        <CardHeader>
          <CardTitle>By month</CardTitle>
          <CardDescription>Amounts of the last year</CardDescription>
        </CardHeader>
        <CardContent>
          <${name}Chart months={months} />
        </CardContent>
      </Card>
      <Tabs defaultValue="list">
        <TabsList>
          <TabsTrigger value="list">List</TabsTrigger>
          <TabsTrigger value="filters">Filters</TabsTrigger>
        </TabsList>
        <TabsContent value="list">
          <${name}Table rows={rows} />
        </TabsContent>
        <TabsContent value="filters">
          <${name}Filters search={search} setSearch={setSearch} />
        </TabsContent>
      </Tabs>
    </div>
  );
}
`;

const chart = (name, kind) => `import { ${[kind, `${kind}Chart`].sort().join(', ')}, XAxis, YAxis } from 'recharts';
import { ChartBox, ChartTooltip } from '@/components/ui/chart';
import type { Month } from '@/lib/months';

export const ${name}Chart = ({ months }: { months: Month[] }) => (
  <ChartBox>
    <${kind}Chart data={months}>
      <XAxis dataKey="month" fontSize={12} />
      <YAxis fontSize={12} width={48} />
      <ChartTooltip />
      <${kind} dataKey="total" stroke="hsl(var(--primary))" fill="hsl(var(--primary) / 0.25)" isAnimationActive={false} />
    </${kind}Chart>
  </ChartBox>
);
`;

const dialog = (id, name) => `import { zodResolver } from '@hookform/resolvers/zod';
import { Plus } from 'lucide-react';
import { useForm } from 'react-hook-form';
import { z } from 'zod';
import { Button } from '@/components/ui/button';
import { Dialog, DialogContent, DialogDescription, DialogOverlay, DialogPortal, DialogTitle, DialogTrigger } from '@/components/ui/dialog';
import { Form, FormField } from '@/components/ui/form';
import { Input } from '@/components/ui/input';
import { toast } from '@/components/ui/sonner';

const schema = z.object({ name: z.string().min(2, 'Two letters at least'), amount: z.coerce.number().positive() });

export function ${name}Dialog() {
  const form = useForm<z.infer<typeof schema>>({ resolver: zodResolver(schema), defaultValues: { name: '', amount: 1 } });
  const save = form.handleSubmit(({ name }) => toast(\`\${name} was added to ${id}\`));
  return (
    <Dialog>
      <DialogTrigger asChild>
        <Button size="sm">
          <Plus className="h-4 w-4" /> Add
        </Button>
      </DialogTrigger>
      <DialogPortal>
        <DialogOverlay />
        <DialogContent>
          <DialogTitle>New in ${id}</DialogTitle>
          <DialogDescription>It appears in the list at once.</DialogDescription>
          <Form {...form}>
            <form onSubmit={save} className="space-y-4">
              <FormField control={form.control} name="name" label="Name" render={({ field }) => <Input id="name" {...field} />} />
              <FormField control={form.control} name="amount" label="Amount" render={({ field }) => <Input id="amount" type="number" {...field} />} />
              <Button type="submit">Save</Button>
            </form>
          </Form>
        </DialogContent>
      </DialogPortal>
    </Dialog>
  );
}
`;

const filters = (id, name) => `import { Checkbox } from '@/components/ui/checkbox';
import { Input } from '@/components/ui/input';
import { Label } from '@/components/ui/label';
import { Switch } from '@/components/ui/switch';

export const ${name}Filters = ({ search, setSearch }: { search: string; setSearch: (search: string) => void }) => (
  <div className="grid gap-4 sm:grid-cols-3">
    <Input aria-label="Search" placeholder="Search ${id}" value={search} onChange={(event) => setSearch(event.target.value)} />
    <Label className="flex items-center gap-2">
      <Checkbox defaultChecked /> Open ones
    </Label>
    <Label className="flex items-center gap-2">
      <Switch /> Mine only
    </Label>
  </div>
);
`;

const table = (name) => `import { MoreHorizontal } from 'lucide-react';
import { Badge } from '@/components/ui/badge';
import { Button } from '@/components/ui/button';
import { DropdownMenu, DropdownMenuContent, DropdownMenuItem, DropdownMenuPortal, DropdownMenuTrigger } from '@/components/ui/dropdown-menu';
import { Table, TableBody, TableCell, TableHead, TableHeader, TableRow } from '@/components/ui/table';
import { day, money } from '@/lib/format';
import type { Row } from '@/lib/rows';

export const ${name}Table = ({ rows }: { rows: Row[] }) => (
  <Table>
    <TableHeader>
      <TableRow>
        {['Name', 'State', 'Since', 'Amount', ''].map((title) => (
          <TableHead key={title}>{title}</TableHead>
        ))}
      </TableRow>
    </TableHeader>
    <TableBody>
      {rows.map((row) => (
        <TableRow key={row.id}>
          <TableCell className="font-medium">{row.name}</TableCell>
          <TableCell>
            <Badge tone={row.open ? 'good' : 'bad'}>{row.open ? 'open' : 'closed'}</Badge>
          </TableCell>
          <TableCell>{day(row.since)}</TableCell>
          <TableCell className="tabular-nums">{money(row.amount)}</TableCell>
          <TableCell>
            <DropdownMenu>
              <DropdownMenuTrigger asChild>
                <Button look="ghost" size="icon" aria-label="More">
                  <MoreHorizontal className="h-4 w-4" />
                </Button>
              </DropdownMenuTrigger>
              <DropdownMenuPortal>
                <DropdownMenuContent>
                  <DropdownMenuItem>Rename</DropdownMenuItem>
                  <DropdownMenuItem>Archive</DropdownMenuItem>
                </DropdownMenuContent>
              </DropdownMenuPortal>
            </DropdownMenu>
          </TableCell>
        </TableRow>
      ))}
    </TableBody>
  </Table>
);
`;

const hook = (id, name) => `import { useQuery } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { byMonth } from '@/lib/months';
import { makeRows } from '@/lib/rows';

export function use${name}() {
  const [search, setSearch] = useState('');
  const { data = [], isPending: pending } = useQuery({ queryKey: ['${id}'], queryFn: async () => makeRows('${id}', 20) });
  const rows = useMemo(() => data.filter((row) => row.name.includes(search)), [data, search]);
  return { rows, months: byMonth(rows), pending, search, setSearch };
}
`;

/** Path to text. */
export function areaFiles() {
  return Object.fromEntries(AREAS.flatMap(([id, name, icon, kind]) => [
    [`src/areas/${id}/${name}Page.tsx`, page(id, name, icon)],
    [`src/areas/${id}/${name}Chart.tsx`, chart(name, kind)],
    [`src/areas/${id}/${name}Dialog.tsx`, dialog(id, name)],
    [`src/areas/${id}/${name}Filters.tsx`, filters(id, name)],
    [`src/areas/${id}/${name}Table.tsx`, table(name)],
    [`src/areas/${id}/use${name}.ts`, hook(id, name)],
  ]));
}

/** What the routes and the navigation need. */
export const areas = AREAS.map(([id, name, icon]) => ({ id, name, icon, to: id === 'overview' ? '/' : `/${id}` }));
