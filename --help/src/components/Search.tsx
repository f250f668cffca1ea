import { usePreferences } from '@/lib/store';
import { Input } from './Input';

export function Search() {
  const { search, setSearch } = usePreferences();
  return <Input label="Search" value={search} onChange={(event) => setSearch(event.target.value)} />;
}
